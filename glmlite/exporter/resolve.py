"""Which network and which family a checkpoint is, out of config.json and the recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from glmlite.errors import ConfigError
from glmlite.exporter.config import ModelSection
from glmlite.model.config import (
    Family,
    ModelConfig,
    RopeConfig,
    RopeKind,
    detect_family,
    detect_rope,
    from_huggingface,
)
from glmlite.model.presets import PRESETS, Preset, find_preset


@dataclasses.dataclass(frozen=True)
class ResolvedModel:
    """A checkpoint's network and the family of its prompts."""

    config: ModelConfig
    family: Family


def resolve_model(section: ModelSection, raw_config: Mapping[str, Any] | None) -> ResolvedModel:
    """Settle everything about the model before weights are read.

    config.json rules; the recipe's preset stands in where there is none, and its family and rope
    say what config.json cannot. Where the two contradict each other, neither is guessed away:
    parity could not notice, since the reference would be wrong in the same way.

    Args:
        section: `model:` of the recipe.
        raw_config: the checkpoint's parsed config.json, or None.

    Raises:
        ConfigError: something is unknown or contradictory; the hint names the setting to make.
    """
    preset = find_preset(section.preset) if section.preset else None
    if section.sizes is not None:
        raw_config = section.sizes.beside(raw_config)
    family = _family(section, raw_config, preset)
    if raw_config is not None:
        rope = _rope_beside(raw_config, section)
        return ResolvedModel(from_huggingface(raw_config, rope), family)
    if preset is None:
        raise ConfigError(
            "The checkpoint has no config.json, and the recipe names no preset.",
            hint="Put config.json beside the weights, or --set model.preset=NAME ({known}).",
            known=", ".join(PRESETS),
        )
    config = preset.config
    if section.rope:
        if config.rope.kind != "standard" and config.rope != section.rope:
            raise _contradiction("model.preset", config.rope, section.rope)
        config = dataclasses.replace(config, rope=section.rope)
    return ResolvedModel(config, family)


def _family(section: ModelSection, raw: Mapping[str, Any] | None, preset: Preset | None) -> Family:
    # A preset only stands in for config.json, so it does not contradict one.
    detected = detect_family(raw) if raw is not None else preset.family if preset else None
    told = section.family
    if told is None:
        told = detected or (preset.family if preset else None)
    elif {told, detected} == {"glm2", "glm3"}:
        raise ConfigError(
            "model.family is {told}, but {where} says that this is a {detected}.",
            hint="The prompts of the two differ, and the wrong ones ruin the answers. Use "
            "--set model.family={detected}, or correct _name_or_path in config.json.",
            where="model.preset" if raw is None else "config.json",
            told=told,
            detected=detected,
        )
    if told is None:
        raise ConfigError(
            "config.json does not tell whether this is a ChatGLM2, a ChatGLM3 or a base model.",
            hint="Say it: --set model.family=glm2 (or glm3, or base). It decides how prompts are "
            "written.",
        )
    return told


def _rope_beside(raw: Mapping[str, Any], section: ModelSection) -> RopeConfig:
    """Rotary settings where there is a config.json."""
    ratio = raw.get("rope_ratio")
    said = isinstance(ratio, (int, float)) and not isinstance(ratio, bool)
    if section.rope is None:
        try:
            return detect_rope(raw)
        except ConfigError:
            # A recipe that names the generation has also named the rule.
            if not said or section.family not in ("glm2", "glm3"):
                raise
            kind: RopeKind = "linear" if section.family == "glm2" else "base"
            return RopeConfig(kind=kind, ratio=float(ratio or 0))
    if not said:
        return section.rope
    try:
        detected = detect_rope(raw)
    except ConfigError:
        detected = dataclasses.replace(section.rope, ratio=float(ratio or 0))
    if detected != section.rope:
        raise _contradiction("config.json", detected, section.rope)
    return section.rope


def _contradiction(where: str, found: RopeConfig, told: RopeConfig) -> ConfigError:
    return ConfigError(
        "{where} says that the rope is {found_kind} with ratio {found_ratio:g}, model.rope says "
        "{told_kind} with ratio {told_ratio:g}.",
        hint="The wrong one ruins every answer. Remove model.rope (--set model.rope=null), or use "
        "the recipe of this model.",
        where=where,
        found_kind=found.kind,
        found_ratio=found.ratio,
        told_kind=told.kind,
        told_ratio=told.ratio,
    )
