"""A prefix and LoRA on one model, and what the manifest's record says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from glmlite.checkpoint import open_checkpoint
from glmlite.checkpoint.adapters import AdaptedCheckpoint, adapt
from glmlite.errors import CheckpointError, ConfigError
from glmlite.exporter.config import Adapter, load_config
from glmlite.exporter.plan import make_plan
from glmlite.exporter.recipes import list_recipes
from glmlite.model.config import from_huggingface
from tests.checkpoint.adapters.drawing import (
    MINDFORMERS,
    OFFICIAL,
    draw_encoder,
    draw_factors,
    encoded_cache,
    mindpet_tensors,
    named,
    write_peft,
)
from tests.fixtures import drawing
from tests.fixtures.models import MODELS
from tests.fixtures.writing import write_checkpoint, write_safetensors

MODEL = MODELS["glm2"]
QKV0 = "transformer.encoder.layers.0.self_attention.query_key_value.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_checkpoint(MODEL, tmp_path / "base")


def adapted(folder: Path, *entries: Adapter) -> AdaptedCheckpoint:
    config = from_huggingface(json.loads((folder / "config.json").read_text()))
    return adapt(open_checkpoint(folder), config, entries)


def test_no_adapter(folder: Path) -> None:
    plain = adapted(folder)
    assert plain.prefix is None
    assert plain.fingerprint() == open_checkpoint(folder).fingerprint()
    for name, tensor in drawing.tensors(MODEL).items():
        np.testing.assert_array_equal(plain.read(name), tensor)


def test_lora_and_prefix(folder: Path, tmp_path: Path) -> None:
    write_peft(tmp_path / "lora", draw_factors(MODEL, 4), r=4, lora_alpha=8)
    parts = draw_encoder(MODEL, length=5, inner=20)
    save_file(named(parts, MINDFORMERS), tmp_path / "prefix.safetensors")
    both = adapted(folder, Adapter(tmp_path / "lora"), Adapter(tmp_path / "prefix.safetensors"))
    assert both.prefix is not None
    for found, wanted in zip(both.prefix, encoded_cache(MODEL, parts), strict=True):
        np.testing.assert_allclose(found[0], wanted[0], atol=2e-6)
    assert np.abs(both.read(QKV0) - drawing.tensors(MODEL)[QKV0]).max() > 0.1
    lora, prefix = both.fingerprint()["adapters"]
    assert (lora["kinds"], lora["matrices"], lora["weight"]) == (["peft"], 2, 1.0)
    assert (prefix["kinds"], prefix["prefix_length"]) == (["prefix"], 5)
    assert len(prefix["sha256"]) == 64
    assert json.dumps(both.fingerprint())


def test_both_in_one_file(folder: Path, tmp_path: Path) -> None:
    parts = {"table": draw_encoder(MODEL, length=5, inner=20)["table"]}
    tensors = named(parts, MINDFORMERS) | mindpet_tensors(draw_factors(MODEL, 8))
    save_file(tensors, tmp_path / "both.safetensors")
    both = adapted(folder, Adapter(tmp_path / "both.safetensors"))
    assert both.prefix is not None
    assert both.fingerprint()["adapters"][0]["kinds"] == ["mindpet", "prefix"]


def test_a_prefix_cannot_be_scaled_or_doubled(folder: Path, tmp_path: Path) -> None:
    parts = {"table": draw_encoder(MODEL, length=5, inner=20)["table"]}
    for name in ("one.safetensors", "two.safetensors"):
        save_file(named(parts, OFFICIAL), tmp_path / name)
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    with pytest.raises(ConfigError, match=r"one.safetensors has the weight 0.5"):
        adapted(folder, Adapter(one, weight=0.5))
    with pytest.raises(ConfigError, match=r"one.safetensors and two.safetensors both bring"):
        adapted(folder, Adapter(one), Adapter(two))


def test_a_prefix_in_the_checkpoint(folder: Path, tmp_path: Path) -> None:
    parts = draw_encoder(MODEL, length=5, inner=20)
    tensors = drawing.tensors(MODEL) | named(parts, OFFICIAL)
    write_safetensors(folder / "model.safetensors", tensors, "float32")
    found = adapted(folder)
    assert found.prefix is not None
    np.testing.assert_allclose(found.prefix[1][1], encoded_cache(MODEL, parts)[1][1], atol=2e-6)
    save_file(named(parts, OFFICIAL), tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match="both bring prefix_encoder"):
        adapted(folder, Adapter(tmp_path / "other.safetensors"))


def test_a_prefix_of_another_model(folder: Path, tmp_path: Path) -> None:
    parts = {"table": draw_encoder(MODELS["glm3"], length=5, inner=20)["table"]}
    save_file(named(parts, OFFICIAL), tmp_path / "prefix.safetensors")
    with pytest.raises(CheckpointError, match=r"embedding.weight is \[5, 144\]"):
        adapted(folder, Adapter(tmp_path / "prefix.safetensors"))


def test_the_recipe(folder: Path, tmp_path: Path) -> None:
    save_file(mindpet_tensors(draw_factors(MODEL, 16)), tmp_path / "lora.safetensors")
    entry = {"path": str(tmp_path / "lora.safetensors"), "weight": 0.5, "alpha": 64}
    recipe = {
        "model": {"checkpoint": str(folder), "family": "glm2", "adapter": [entry]},
        "export": {"output": str(tmp_path / "out"), "cache_length": 64, "prefill_tokens": 32},
    }
    plan = make_plan(load_config(recipe))
    (record,) = plan.checkpoint.fingerprint()["adapters"]
    assert (record["rank"], record["alpha"], record["weight"]) == ([16], [64.0], 0.5)
    entry["alpha"] = 0
    with pytest.raises(ConfigError, match=r"model.adapter.alpha is 0"):
        load_config(recipe)
    entry["scale"] = 1
    with pytest.raises(ConfigError, match="path, weight and alpha"):
        load_config(recipe)


@pytest.mark.parametrize(
    ("name", "tensors"),
    [
        ("glm2_6b_lora", mindpet_tensors(draw_factors(MODEL, 8))),
        ("glm2_6b_ptuning2", named(draw_encoder(MODEL, length=5, inner=20), MINDFORMERS)),
    ],
)
def test_shipped_recipes(folder: Path, tmp_path: Path, name: str, tensors: Any) -> None:
    assert name in list_recipes("export_configs")
    path = tmp_path / "adapter.safetensors"
    save_file(tensors, path)
    plan = make_plan(load_config(name, {"checkpoint": str(folder), "adapter": str(path)}))
    (record,) = plan.checkpoint.fingerprint()["adapters"]
    assert record["kinds"] == (["mindpet"] if name.endswith("lora") else ["prefix"])
    assert plan.prefix_length == (0 if name.endswith("lora") else 5)
