"""Configuration of a ChatGLM2/ChatGLM3 network, read from the official `config.json`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from glmlite.errors import ConfigError
from glmlite.finite import is_finite

RopeKind = Literal["standard", "linear", "base"]
Family = Literal["glm2", "glm3", "base"]
FAMILIES: tuple[str, ...] = get_args(Family)
ROPE_KINDS: tuple[str, ...] = get_args(RopeKind)


@dataclasses.dataclass(frozen=True)
class RopeConfig:
    """How positions become rotation angles.

    `standard`: angle = position * base**(-2i/d). `linear` (ChatGLM2-6B-32k): positions are divided
    by `ratio`. `base` (ChatGLM3-6B-32k): `base` is multiplied by `ratio`.
    """

    kind: RopeKind = "standard"
    ratio: float = 1.0
    base: float = 10000.0

    def __post_init__(self) -> None:
        if self.kind not in ROPE_KINDS:
            raise ConfigError(
                "rope.kind is {found!r}; it must be one of: {known}.",
                found=self.kind,
                known=", ".join(ROPE_KINDS),
            )
        for name in ("ratio", "base"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not is_finite(value) or value <= 0:
                raise ConfigError(
                    "rope.{name} is {found!r}; it must be a positive number.",
                    name=name,
                    found=value,
                )

    @property
    def position_scale(self) -> float:
        """Factor applied to every position."""
        return 1.0 / self.ratio if self.kind == "linear" else 1.0

    @property
    def effective_base(self) -> float:
        """Base of the frequencies."""
        return self.base * self.ratio if self.kind == "base" else self.base


# Generous bounds: shapes of every layer are enumerated before a single weight has been seen.
_MAX_SIZE = 2**20
_LIMITS = {"num_layers": 1024, "vocab_size": 2**22, "seq_length": 2**24}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of a GLM: what the graph, the reference and the parameter names need.

    Head h uses key-value group `h // (num_heads // num_groups)`; rotary embedding covers the first
    `head_dim // 2` channels of a head in adjacent pairs.
    """

    num_layers: int
    hidden_size: int
    num_heads: int
    num_groups: int
    head_dim: int
    ffn_hidden_size: int
    vocab_size: int
    seq_length: int
    norm_eps: float = 1e-5
    qkv_bias: bool = True
    rope: RopeConfig = RopeConfig()

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.type != "int":
                continue
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
                raise ConfigError(
                    "Model configuration: {name} is {found!r}; it must be a positive integer.",
                    name=field.name,
                    found=value,
                )
            limit = _LIMITS.get(field.name, _MAX_SIZE)
            if value > limit:
                raise ConfigError(
                    "Model configuration: {name} is {found}; glmlite takes {limit} at most.",
                    name=field.name,
                    found=value,
                    limit=limit,
                )
        if self.num_heads % self.num_groups:
            raise ConfigError(
                "Model configuration: {heads} attention heads cannot share {groups} key-value "
                "groups evenly.",
                heads=self.num_heads,
                groups=self.num_groups,
            )
        if self.head_dim % 4:
            raise ConfigError(
                "Model configuration: head_dim is {found}; half of it is rotated in pairs, so it "
                "must be a multiple of 4.",
                found=self.head_dim,
            )
        if not isinstance(self.norm_eps, float) or not 0 < self.norm_eps < 1:
            raise ConfigError(
                "Model configuration: layernorm_epsilon is {found!r}; it must lie between 0 and 1.",
                found=self.norm_eps,
            )

    @property
    def query_size(self) -> int:
        """Columns of all query heads together."""
        return self.num_heads * self.head_dim

    @property
    def group_size(self) -> int:
        """Columns of all key groups together (as many again for the values)."""
        return self.num_groups * self.head_dim

    @property
    def qkv_size(self) -> int:
        """Rows of the `query_key_value` matrix: queries, keys, values."""
        return self.query_size + 2 * self.group_size

    @property
    def rotary_dim(self) -> int:
        """Channels of a head that are rotated."""
        return self.head_dim // 2

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the manifest and for the toolchain."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelConfig:
        """The inverse of `to_dict`; unknown or missing keys are a `ConfigError`."""
        known = {f.name for f in dataclasses.fields(cls)}
        required = {f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING}
        rope = data.get("rope", {})
        rope_known = {f.name for f in dataclasses.fields(RopeConfig)}
        unknown = sorted(set(data) - known)
        if not isinstance(rope, Mapping):
            raise ConfigError("Model configuration: rope must be a mapping.")
        unknown += [f"rope.{k}" for k in sorted(set(rope) - rope_known)]
        missing = sorted(required - set(data))
        if unknown or missing:
            raise ConfigError(
                "Model configuration: unknown keys [{unknown}], missing keys [{missing}].",
                unknown=", ".join(unknown),
                missing=", ".join(missing),
            )
        return cls(**{**data, "rope": RopeConfig(**rope)})


# Switches of the official configuration that change the network; glmlite knows these values only.
_FIXED: dict[str, object] = {
    "add_bias_linear": False,
    "apply_residual_connection_post_layernorm": False,
    "post_layer_norm": True,
    "rmsnorm": True,
    "tie_word_embeddings": False,
}


def _detect_generation(raw: Mapping[str, Any]) -> str | None:
    """Where the configuration names its origin, "glm2" or "glm3"; else None."""
    name = str(raw.get("_name_or_path", "")).lower()
    found = set(re.findall(r"chatglm([23])(?!\d)", name))
    return f"glm{found.pop()}" if len(found) == 1 else None


def detect_family(raw: Mapping[str, Any]) -> Family | None:
    """The family that a Hugging Face `config.json` names, or None where it does not tell."""
    generation = _detect_generation(raw)
    if generation and re.search(r"-base\b", str(raw.get("_name_or_path", "")).lower()):
        return "base"
    return generation  # type: ignore[return-value]


def detect_rope(raw: Mapping[str, Any]) -> RopeConfig:
    """Rotary settings of a Hugging Face `config.json`.

    ChatGLM2-32k and ChatGLM3-32k write the same key, `rope_ratio`, and mean different things; the
    wrong rule shifts logits by 2.8 and more, so an origin that cannot be told is refused.

    Raises:
        ConfigError: `rope_ratio` is not 1 and `_name_or_path` names neither generation.
    """
    ratio = raw.get("rope_ratio", 1)
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)):
        raise ConfigError("config.json: rope_ratio is {found!r}, not a number.", found=ratio)
    if ratio == 1:
        return RopeConfig()
    generation = _detect_generation(raw)
    if generation is None:
        raise ConfigError(
            "config.json has rope_ratio {ratio}, but does not tell whether this is a ChatGLM2 "
            "(positions divided by it) or a ChatGLM3 (base multiplied by it).",
            hint="Say it in the recipe: --set model.rope.kind=linear (ChatGLM2-32k) or "
            "--set model.rope.kind=base (ChatGLM3-32k), with --set model.rope.ratio={ratio}.",
            ratio=ratio,
        )
    return RopeConfig(kind="linear" if generation == "glm2" else "base", ratio=float(ratio))


def from_huggingface(raw: Mapping[str, Any], rope: RopeConfig | None = None) -> ModelConfig:
    """Read the official ChatGLM2/3 `config.json`.

    Args:
        raw: the parsed file.
        rope: rotary settings that replace what the file says.

    Raises:
        ConfigError: a key is missing, or a switch has a value that no ChatGLM2/3 has.
    """
    for key, value in _FIXED.items():
        if raw.get(key, value) != value:
            raise ConfigError(
                "config.json: {key} is {found!r}; ChatGLM2/3 have {expected!r} and glmlite's "
                "network knows nothing else.",
                key=key,
                found=raw[key],
                expected=value,
            )
    names = {
        "num_layers": "num_layers",
        "hidden_size": "hidden_size",
        "num_attention_heads": "num_heads",
        "kv_channels": "head_dim",
        "ffn_hidden_size": "ffn_hidden_size",
        "padded_vocab_size": "vocab_size",
        "seq_length": "seq_length",
    }
    missing = [key for key in names if key not in raw]
    if missing:
        raise ConfigError(
            "config.json lacks {missing}: this is no ChatGLM2/ChatGLM3 configuration "
            "(model_type: {model_type}).",
            hint="ChatGLM-6B of the first generation has another network and is not supported yet.",
            missing=", ".join(missing),
            model_type=str(raw.get("model_type", "?")),
        )
    sizes = {ours: raw[theirs] for theirs, ours in names.items()}
    grouped = bool(raw.get("multi_query_attention", False))
    eps = raw.get("layernorm_epsilon", 1e-5)
    return ModelConfig(
        **sizes,
        num_groups=raw.get("multi_query_group_num", 1) if grouped else sizes["num_heads"],
        norm_eps=float(eps) if isinstance(eps, (int, float)) else eps,
        qkv_bias=bool(raw.get("add_qkv_bias", False)),
        rope=rope or detect_rope(raw),
    )
