"""Family, sizes and rope: what a recipe and a config.json say together."""

from __future__ import annotations

import pytest

from glmlite.errors import ConfigError
from glmlite.exporter.config import load_config
from glmlite.exporter.resolve import resolve_model
from glmlite.model.config import RopeConfig
from tests.export.test_config import MINIMAL, OFFICIAL, loaded


def test_family_is_explicit_or_detected_or_refused():
    section = load_config(MINIMAL).model
    for name, family in (
        ("THUDM/chatglm2-6b", "glm2"),
        ("ZhipuAI/chatglm3-6b-32k", "glm3"),
        ("THUDM/chatglm3-6b-base", "base"),
    ):
        assert resolve_model(section, {**OFFICIAL, "_name_or_path": name}).family == family
    with pytest.raises(ConfigError, match=r"--set model\.family="):
        resolve_model(section, OFFICIAL)
    assert resolve_model(loaded(family="glm3").model, OFFICIAL).family == "glm3"
    assert resolve_model(loaded(preset="glm3_6b").model, OFFICIAL).family == "glm3"
    # Chat tuning of a base model keeps the base model's name.
    raw = {**OFFICIAL, "_name_or_path": "THUDM/chatglm3-6b-base"}
    assert resolve_model(loaded(family="glm3").model, raw).family == "glm3"
    with pytest.raises(ConfigError, match="this is a glm3"):
        resolve_model(
            loaded(family="glm2").model, {**OFFICIAL, "_name_or_path": "THUDM/chatglm3-6b"}
        )


def test_presets_stand_in_for_config_json():
    with pytest.raises(ConfigError, match="glm2_6b_32k"):
        resolve_model(loaded(family="glm2").model, None)
    with pytest.raises(ConfigError, match="nearest known preset is glm3_6b"):
        resolve_model(loaded(preset="glm3_6bb").model, None)
    tiny = {**OFFICIAL, "num_layers": 2}
    assert resolve_model(load_config("glm2_6b").model, tiny).config.num_layers == 2


def test_rope_is_never_guessed():
    unnamed = {**OFFICIAL, "rope_ratio": 16}
    with pytest.raises(ConfigError, match=r"model\.rope\.kind"):
        resolve_model(loaded(family="base").model, unnamed)
    assert resolve_model(loaded(family="glm2").model, unnamed).config.rope == RopeConfig(
        "linear", 16.0
    )
    assert resolve_model(loaded(family="glm3").model, unnamed).config.rope == RopeConfig(
        "base", 16.0
    )
    linear = {"kind": "linear", "ratio": 16}
    told = loaded(family="base", rope=linear).model
    assert resolve_model(told, unnamed).config.rope == RopeConfig("linear", 16.0)
    # Without rope_ratio, config.json does not contradict.
    assert resolve_model(told, OFFICIAL).config.rope == RopeConfig("linear", 16.0)


@pytest.mark.parametrize(
    ("name", "ratio", "rope"),
    [
        ("THUDM/chatglm3-6b-32k", 50, {"kind": "linear", "ratio": 50}),
        ("THUDM/chatglm2-6b-32k", 16, {"kind": "linear", "ratio": 8}),
        ("THUDM/chatglm2-6b", 1, {"kind": "linear", "ratio": 16}),
        ("somewhere", 16, {"kind": "linear", "ratio": 50}),
    ],
)
def test_rope_contradictions_are_refused(name, ratio, rope):
    raw = {**OFFICIAL, "_name_or_path": name, "rope_ratio": ratio}
    with pytest.raises(ConfigError, match=r"model\.rope says"):
        resolve_model(loaded(family="base", rope=rope).model, raw)


def test_preset_and_rope_may_contradict_too():
    section = load_config("glm3_6b_32k", ["model.rope.kind=linear"]).model
    with pytest.raises(ConfigError, match=r"model\.preset says"):
        resolve_model(section, None)
    with pytest.raises(ConfigError, match=r"model\.preset says"):
        resolve_model(loaded(family="glm2", preset="glm3_6b").model, None)
