"""The export YAMLs of MindFormers 0.8 to 1.0 as recipes: what they say, and what it is worth here.

MindFormers' files are full of training, so keys that nobody needs are no errors; contradictions and
values that cannot be used are. What a user may have set on purpose and has no meaning any more is
said in a remark.

Source: configs/glm2 and configs/glm3, mindformers/tools/export.py of those releases.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from glmlite.errors import ConfigError
from glmlite.exporter import schema
from glmlite.exporter.mindformers_checkpoint import find_checkpoint, find_tokenizer
from glmlite.exporter.mindformers_model import READ, read_family, read_rope, read_sizes
from glmlite.exporter.mindformers_remarks import idle_remarks, without_suffix
from glmlite.exporter.schema import Where
from glmlite.exporter.stand_in import StandIn
from glmlite.i18n import _

_SECTIONS = frozenset({"trainer", "runner", "run_mode", "infer", "processor", "use_parallel"})
_NETWORKS = ("ChatGLM2", "ChatGLM3")
_PREFILL = (32, 256)


@dataclasses.dataclass(frozen=True)
class Translation:
    """A MindFormers YAML in glmlite's terms.

    Attributes:
        recipe: sections `model` and `export` of a recipe.
        sizes: of the network, for a checkpoint without a config.json.
        remarks: sentences for the user.
    """

    recipe: dict[str, dict[str, Any]]
    sizes: StandIn
    remarks: tuple[str, ...]


def is_mindformers(data: Mapping[Any, Any]) -> bool:
    """Whether a YAML's top level is MindFormers' and no recipe's."""
    model = data.get("model")
    return bool(_SECTIONS & set(data)) or (isinstance(model, Mapping) and "model_config" in model)


def translate(data: Mapping[Any, Any], file: str, told: Mapping[str, Any]) -> Translation:
    """Read a MindFormers YAML.

    Args:
        data: the file's contents.
        file: its name, for messages.
        told: what the user overrides, by section; nothing is asked of the file that he said.

    Raises:
        ConfigError: a contradiction, or a value that cannot be used; names the key.
    """
    data = _cleaned(data)
    told_model = told.get("model") or {}
    section = _section(data, "model", file).get("model_config") or {}
    if not isinstance(section, Mapping):
        Where(file, "model.model_config").refuse(section, _("a section with keys"))
    _check_network(data, section, file)
    processor = _section(data, "processor", file).get("tokenizer")
    tokenizer = processor if isinstance(processor, Mapping) else {}
    family = told_model.get("family") or read_family(data, tokenizer, file)
    where = Where(file, "model.model_config")
    sizes = read_sizes(section, where, family)
    model: dict[str, Any] = {"family": family}
    remarks = []
    if told_model.get("rope") is None:
        model["rope"] = read_rope(sizes, family)
    checkpoint = told_model.get("checkpoint")
    if checkpoint is None:
        checkpoint = model["checkpoint"] = find_checkpoint(data, section, file)
    if told_model.get("tokenizer") is None:
        model["tokenizer"], remark = find_tokenizer(tokenizer, str(checkpoint), file)
        remarks += [remark] if remark else []
    if told_model.get("dtype") is None:
        model["dtype"] = _dtype(section, where)
        if model["dtype"] == "float16":
            remarks.append(
                _("compute_dtype: float16 is for Ascend; for a CPU --set model.dtype=float32.")
            )
    if told_model.get("adapter") is None:
        model["adapter"] = _adapter(section, where, str(checkpoint))
    export, taken = _export(data, section, told.get("export") or {}, file)
    remarks += [*taken, *idle_remarks(data, section, READ)]
    recipe = {
        "model": {key: value for key, value in model.items() if value is not None},
        "export": export,
    }
    return Translation(recipe, sizes, tuple(remarks))


def _cleaned(value: Any) -> Any:
    """A copy without "None", which YAML reads as text and MindFormers as nothing."""
    if isinstance(value, Mapping):
        return {key: _cleaned(item) for key, item in value.items()}
    return None if value == "None" else value


def _section(data: Mapping[str, Any], key: str, file: str) -> Mapping[str, Any]:
    value = data.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        Where(file, key).refuse(value, _("a section with keys"))
    return value


def _check_network(data: Mapping[str, Any], section: Mapping[str, Any], file: str) -> None:
    arch = _section(data, "model", file).get("arch")
    network = arch.get("type") if isinstance(arch, Mapping) else None
    for key, value in (
        ("model.arch.type", network),
        ("model.model_config.type", section.get("type")),
    ):
        if value is not None and not str(value).startswith(_NETWORKS):
            raise ConfigError(
                "{file}: {key} is {found}, which is no ChatGLM2 or ChatGLM3.",
                hint="glmlite exports ChatGLM2 and ChatGLM3 (glm2_…, glm3_…, glm32k…).",
                file=file,
                key=key,
                found=repr(value)[:80],
            )


def _dtype(section: Mapping[str, Any], where: Where) -> str:
    """Of weights and computation; MindFormers' default is float16."""
    key = "compute_dtype" if section.get("compute_dtype") else "param_init_type"
    value = section.get(key) or "float16"
    if value not in ("float16", "float32"):
        raise ConfigError(
            "{file}: {key} is {found}; graphs compute in float16 or float32.",
            hint="--set model.dtype=float16 (Ascend) or --set model.dtype=float32 (CPU)",
            file=where.file,
            key=where.child(key).key,
            found=repr(value)[:80],
        )
    return str(value)


def _adapter(section: Mapping[str, Any], where: Where, checkpoint: str) -> Any:
    """`model.adapter`: MindFormers saves LoRA and P-Tuning beside the weights, in the same file."""
    pet = section.get("pet_config")
    if not isinstance(pet, Mapping) or pet.get("pet_type") is None:
        return None
    kind = pet["pet_type"]
    where = where.child("pet_config")
    if kind == "ptuning2":
        one, other = section.get("pre_seq_len"), pet.get("pre_seq_len")
        if one and other and one != other:
            raise ConfigError(
                "{file}: pre_seq_len is {one} in model.model_config and {other} in its pet_config.",
                file=where.file,
                one=one,
                other=other,
            )
        return None
    if kind != "lora":
        where.child("pet_type").refuse(kind, "lora | ptuning2")
    alpha = pet.get("lora_alpha")
    if alpha is None:
        return None
    return [{"path": checkpoint, "alpha": schema.positive(where.child("lora_alpha"), alpha)}]


def _export(
    data: Mapping[str, Any], section: Mapping[str, Any], told: Mapping[str, Any], file: str
) -> tuple[dict[str, Any], list[str]]:
    """`export:` of the recipe, and what to say about it."""
    infer = _section(data, "infer", file)
    at_infer, at_model = Where(file, "infer"), Where(file, "model.model_config")
    export: dict[str, Any] = {}
    remarks = []
    model_type = infer.get("model_type")
    if model_type is not None and str(model_type).lower() != "mindir":
        at_infer.child("model_type").refuse(model_type, "mindir")
    if told.get("output") is None:
        prefill = infer.get("prefill_model_path")
        if prefill is not None:
            path = schema.text(at_infer.child("prefill_model_path"), prefill)
            export["output"] = output_folder(path)
            remarks.append(
                _(
                    "infer.prefill_model_path, infer.increment_model_path: the graphs, the "
                    "weights and the tokenizer go to one bundle, {output}.",
                    output=export["output"],
                )
            )
    length = told.get("cache_length")
    if length is None:
        length = _seq_length(infer, section, at_infer, at_model)
        export |= {"cache_length": length} if length is not None else {}
    if length is not None and told.get("prefill_tokens") is None:
        shortest = min(schema.sizes(Where("--set", "export.cache_length"), length))
        export["prefill_tokens"] = [t for t in _PREFILL if t <= shortest] or [shortest]
    if told.get("batch_size") is None and section.get("batch_size") is not None:
        at = at_model.child("batch_size")
        export["batch_size"] = schema.whole(at, section["batch_size"], high=1024)
    return export, remarks


def output_folder(prefill_model_path: str) -> str:
    """The bundle's folder for a path that MindFormers would write a graph to.

    It is the graph's folder, so that `run_infer --prefill_model_path` with MindFormers' file names
    finds the bundle; a path without a folder gives one of its own.
    """
    parent = PurePosixPath(prefill_model_path).parent
    return str(parent) if parent.name else without_suffix(prefill_model_path)


def _seq_length(
    infer: Mapping[str, Any], section: Mapping[str, Any], at_infer: Where, at_model: Where
) -> int | None:
    given = {
        at.key: schema.whole(at, value)
        for at, value in (
            (at_infer.child("infer_seq_length"), infer.get("infer_seq_length")),
            (at_model.child("seq_length"), section.get("seq_length")),
        )
        if value is not None
    }
    if len(set(given.values())) > 1:
        one, other = given.items()
        raise ConfigError(
            "{file}: {first} is {one}, {second} is {other}; MindFormers needs them equal.",
            hint="Correct one of them, or say it: --set export.cache_length={one}",
            file=at_infer.file,
            first=one[0],
            one=one[1],
            second=other[0],
            other=other[1],
        )
    return next(iter(given.values()), None)
