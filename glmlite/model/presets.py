"""Sizes of the published models, for checkpoints that come without a config.json.

Source: the official config.json of each model.
"""

from __future__ import annotations

import dataclasses
import difflib

from glmlite.errors import ConfigError
from glmlite.model.config import Family, ModelConfig, RopeConfig


@dataclasses.dataclass(frozen=True)
class Preset:
    """A published model: its network, and how its prompts are written."""

    config: ModelConfig
    family: Family


def _six_billion(family: Family, seq_length: int, rope: RopeConfig | None = None) -> Preset:
    """The 6B network, which all published ChatGLM2/3 share."""
    config = ModelConfig(
        num_layers=28,
        hidden_size=4096,
        num_heads=32,
        num_groups=2,
        head_dim=128,
        ffn_hidden_size=13696,
        vocab_size=65024,
        seq_length=seq_length,
        rope=rope or RopeConfig(),
    )
    return Preset(config, family)


PRESETS: dict[str, Preset] = {
    "glm2_6b": _six_billion("glm2", 32768),
    "glm2_6b_32k": _six_billion("glm2", 32768, RopeConfig("linear", 16.0)),
    "glm3_6b": _six_billion("glm3", 8192),
    "glm3_6b_32k": _six_billion("glm3", 32768, RopeConfig("base", 50.0)),
    "glm3_6b_base": _six_billion("base", 32768),
}


def find_preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ConfigError: there is none; the nearest name is suggested.
    """
    if name in PRESETS:
        return PRESETS[name]
    near = difflib.get_close_matches(name, PRESETS, n=1, cutoff=0.0)
    raise ConfigError(
        "model.preset is {found!r}; the nearest known preset is {near}. All: {known}.",
        found=name,
        near=near[0],
        known=", ".join(PRESETS),
    )
