"""What a MindFormers YAML says that has no meaning any more, one line for each reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from glmlite.i18n import _

_SUFFIX = ".mindir"
# What other modules read of model.model_config.
_USED = frozenset(
    {
        "type",
        "seq_length",
        "batch_size",
        "checkpoint_name_or_path",
        "compute_dtype",
        "param_init_type",
        "pet_config",
        "pre_seq_len",
        "prefix_projection",
        "quantization_bit",
    }
)
_GENERATION = frozenset(
    {
        "do_sample",
        "top_k",
        "top_p",
        "temperature",
        "repetition_penalty",
        "max_decode_length",
        "max_length",
        "max_new_tokens",
    }
)
_TOKENS = frozenset({"eos_token_id", "pad_token_id", "bos_token_id", "gmask_token_id"})
_CACHE = frozenset(
    {
        "use_past",
        "use_paged_attention",
        "block_size",
        "num_blocks",
        "is_dynamic",
        "is_flexible_shape",
        "use_kvcache_op",
    }
)
_KERNELS = frozenset(
    {
        "use_flash_attention",
        "use_prompt_flash_attention",
        "use_incre_flash_attention",
        "apply_query_key_layer_scaling",
        "attention_softmax_in_fp32",
        "fp32_residual_connection",
        "layernorm_compute_type",
        "softmax_compute_type",
        "rotary_dtype",
    }
)
_READ_SECTIONS = frozenset({"model", "infer", "trainer", "processor", "load_checkpoint"})


def without_suffix(path: str) -> str:
    """A graph's path without `.mindir`: the suffix, not its letters (as MindFormers cuts them)."""
    return path.removesuffix(_SUFFIX)


def idle_remarks(
    data: Mapping[str, Any], section: Mapping[str, Any], read: frozenset[str]
) -> list[str]:
    """Remarks on keys that the export does not use.

    Args:
        data: the whole file.
        section: its model.model_config.
        read: keys of it that describe the network.
    """
    said = {key for key, value in section.items() if value is not None} - _USED - read
    remarks = []

    def remark(keys: Iterable[str], reason: str) -> None:
        names = [key for key in section if key in said & set(keys)]
        said.difference_update(names)
        if names:
            remarks.append(f"{', '.join(names)}: {reason}")

    remark(["is_sample_acceleration"], _("sampling runs beside the graph, in less than 1 ms."))
    remark(_GENERATION, _("said when an answer is generated, not in the graph."))
    remark(_TOKENS, _("come from the tokenizer and the family."))
    remark(
        _CACHE,
        _("the cache is always used; it is an input and an output of static graphs."),
    )
    remark(_KERNELS, _("precision and kernels are settled by model.dtype and the engine."))
    if section.get("quantization_bit"):
        remarks.append(_("quantization_bit: the checkpoint itself tells how it is quantized."))
    rest = [key for key in section if key in said]
    rest += [key for key in data if key not in _READ_SECTIONS and data[key] is not None]
    if rest:
        remarks.append(_("Not needed for an export: {keys}.", keys=", ".join(map(str, rest))))
    return remarks
