"""`model.model_config` of a MindFormers YAML: the network, the family and the rope it describes.

Source of keys and defaults: ChatGLM2Config of MindFormers 0.8 to 1.0, which ChatGLM3 uses too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glmlite.errors import ConfigError
from glmlite.exporter import schema
from glmlite.exporter.schema import Where
from glmlite.exporter.stand_in import StandIn
from glmlite.model.presets import PRESETS

# Key -> MindFormers' default; the names are those of config.json.
_SIZES: dict[str, int] = {
    "num_layers": 28,
    "padded_vocab_size": 65024,
    "hidden_size": 4096,
    "ffn_hidden_size": 13696,
    "kv_channels": 128,
    "num_attention_heads": 32,
    "multi_query_group_num": 2,
}
_SWITCHES = {"multi_query_attention": True, "add_qkv_bias": True}
# What no ChatGLM2/3 has otherwise, and glmlite's network does not know.
_FIXED = {
    "add_bias_linear": False,
    "apply_residual_connection_post_layernorm": False,
    "post_layer_norm": True,
    "rmsnorm": True,
}
READ = frozenset({*_SIZES, *_SWITCHES, *_FIXED, "layernorm_epsilon", "rope_ratio"})

_FAMILIES = {"glm2": "glm2", "glm3": "glm3", "glm32k": "glm3", "codegeex2": "base"}
_TOKENIZERS = {"ChatGLM2Tokenizer": "glm2", "ChatGLM3Tokenizer": "glm3"}


def read_sizes(section: Mapping[str, Any], where: Where, family: str | None) -> StandIn:
    """The network's sizes as a config.json would say them.

    Raises:
        ConfigError: a value of the wrong kind, or a network that no ChatGLM2/3 has.
    """
    config: dict[str, Any] = dict(_SIZES) | _SWITCHES
    for key in _SIZES:
        if section.get(key) is not None:
            config[key] = schema.whole(where.child(key), section[key])
    for key in (*_SWITCHES, *_FIXED):
        value = section.get(key)
        if value is None:
            continue
        if not isinstance(value, bool) or _FIXED.get(key, value) != value:
            where.child(key).refuse(value, str(_FIXED.get(key, "True | False")))
        config[key] = value
    if section.get("layernorm_epsilon") is not None:
        # YAML 1.1 reads 1e-5, without a dot, as text.
        found = section["layernorm_epsilon"]
        config["layernorm_epsilon"] = schema.positive(
            where.child("layernorm_epsilon"), as_number(found)
        )
    said = {key for key in config if section.get(key) is not None}
    if section.get("rope_ratio") is not None:
        found = as_number(section["rope_ratio"])
        config["rope_ratio"] = schema.positive(where.child("rope_ratio"), found)
        said.add("rope_ratio")
    preset = PRESETS.get(f"{family}_6b")
    length = section.get("seq_length")
    config["seq_length"] = preset.config.seq_length if preset else length or 2048
    return StandIn(config, frozenset(said), where.file)


def as_number(value: Any) -> Any:
    """A number that YAML left as text; anything else as it is."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def read_family(data: Mapping[str, Any], tokenizer: Mapping[str, Any], file: str) -> str | None:
    """The family that `trainer.model_name` and the tokenizer's type name, or None.

    Raises:
        ConfigError: another kind of model, or two families.
    """
    named: str | None = None
    trainer = data.get("trainer")
    model_name = trainer.get("model_name") if isinstance(trainer, Mapping) else None
    if model_name is not None:
        name = schema.text(Where(file, "trainer.model_name"), model_name)
        named = _FAMILIES.get(name.split("_")[0])
        if named is None:
            raise ConfigError(
                "{file}: {key} is {found}, which is no ChatGLM2 or ChatGLM3.",
                hint="glmlite exports ChatGLM2 and ChatGLM3 (glm2_…, glm3_…, glm32k…).",
                file=file,
                key="trainer.model_name",
                found=repr(name),
            )
    kind = tokenizer.get("type")
    spoken = _TOKENIZERS.get(kind) if isinstance(kind, str) else None
    if kind is not None and spoken is None:
        raise ConfigError(
            "{file}: {key} is {found}, which is no ChatGLM2 or ChatGLM3.",
            hint="glmlite exports ChatGLM2 and ChatGLM3 (glm2_…, glm3_…, glm32k…).",
            file=file,
            key="processor.tokenizer.type",
            found=repr(kind),
        )
    if {named, spoken} == {"glm2", "glm3"}:
        raise ConfigError(
            "{file}: trainer.model_name says {named}, processor.tokenizer.type says {spoken}.",
            hint="The prompts of the two differ. Correct one of them, or say which it is: --set "
            "model.family={named}",
            file=file,
            named=named,
            spoken=spoken,
        )
    return named or spoken


def read_rope(sizes: StandIn, family: str | None) -> dict[str, Any] | None:
    """`model.rope` for `rope_ratio`.

    Raises:
        ConfigError: two rules fit, and the wrong one ruins every answer.
    """
    ratio = sizes.config.get("rope_ratio", 1)
    if ratio == 1:
        return None
    if family == "glm3":
        return {"kind": "base", "ratio": ratio}
    raise ConfigError(
        "{file}: rope_ratio is {ratio:g}. MindFormers multiplies the rope's base by it, the "
        "published ChatGLM2-6B-32k divides positions by it.",
        hint="Say what the model was trained with: --set model.rope.kind=base (MindFormers) or "
        "--set model.rope.kind=linear (as published), with --set model.rope.ratio={ratio:g}",
        file=sizes.source,
        ratio=ratio,
    )
