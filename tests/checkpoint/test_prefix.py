"""P-Tuning v2 prefixes."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from glmlite.checkpoint import PREFIX_EMBEDDING, open_checkpoint, read_prefix
from glmlite.errors import CheckpointError
from glmlite.model.config import ModelConfig, from_huggingface
from tests.checkpoint.adapters.drawing import (
    MINDFORMERS,
    OFFICIAL,
    draw_encoder,
    encoded_cache,
    named,
)
from tests.fixtures.models import MODELS

CONFIG = ModelConfig(
    num_layers=3,
    hidden_size=16,
    num_heads=4,
    num_groups=2,
    head_dim=4,
    ffn_hidden_size=6,
    vocab_size=11,
    seq_length=16,
)
LENGTH = 5


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_layout_of_the_official_code(tmp_path, dtype):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(LENGTH, 3 * 2 * 2 * 4)).astype(dtype)
    save_file({PREFIX_EMBEDDING: table}, tmp_path / "model.safetensors")
    # get_prompt(): view [1, P, 2·layers, groups, head_dim], permute(2, 1, 0, 3, 4), split(2)
    official = table.reshape(1, LENGTH, 6, 2, 4).transpose(2, 1, 0, 3, 4)
    for source in (tmp_path, tmp_path / "model.safetensors", open_checkpoint(tmp_path)):
        prefix = read_prefix(source, CONFIG)
        assert len(prefix) == 3
        for layer, (keys, values) in enumerate(prefix):
            assert keys.dtype == values.dtype == np.float32
            assert keys.shape == values.shape == (2, LENGTH, 4)
            np.testing.assert_array_equal(keys, official[2 * layer, :, 0].transpose(1, 0, 2))
            np.testing.assert_array_equal(values, official[2 * layer + 1, :, 0].transpose(1, 0, 2))


def test_prefix_of_another_model(tmp_path):
    save_file({PREFIX_EMBEDDING: np.zeros((5, 40), np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"\[length, 48\]"):
        read_prefix(tmp_path, CONFIG)


TINY = MODELS["glm2"]
TINY_CONFIG = from_huggingface(TINY.config)


@pytest.mark.parametrize("names", [OFFICIAL, MINDFORMERS], ids=["official", "mindformers"])
@pytest.mark.parametrize("projected", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_encoders_of_both_libraries(tmp_path, names, projected, dtype):
    parts = draw_encoder(TINY, length=5, inner=20)
    parts = {name: array.astype(dtype) for name, array in parts.items()}
    if not projected:
        parts = {"table": parts["table"]}
    save_file(named(parts, names), tmp_path / "model.safetensors")
    prefix = read_prefix(tmp_path, TINY_CONFIG)
    for found, wanted in zip(prefix, encoded_cache(TINY, parts), strict=True):
        for mine, other in zip(found, wanted, strict=True):
            assert mine.dtype == np.float32
            np.testing.assert_allclose(mine, other, atol=2e-6 if projected else 0)


def test_the_order_of_mindformers(tmp_path):
    """mindpet reshapes to (1, P, 2·layers, heads, channels), transposes, and splits by layer."""
    table = draw_encoder(TINY, length=5, inner=20)["table"]
    save_file(named({"table": table}, MINDFORMERS), tmp_path / "model.safetensors")
    layers = TINY.config["num_layers"]
    whole = table.reshape(1, 5, 2 * layers, 2, 12).transpose(2, 0, 3, 1, 4)
    for (keys, values), both in zip(
        read_prefix(tmp_path, TINY_CONFIG), np.split(whole, layers), strict=True
    ):
        np.testing.assert_array_equal(keys, both[0, 0])
        np.testing.assert_array_equal(values, both[1, 0])


def test_half_a_projection(tmp_path):
    tensors = named(draw_encoder(TINY, length=5, inner=20), OFFICIAL)
    del tensors[OFFICIAL["bias_out"]]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="bias_out is not"):
        read_prefix(tmp_path, TINY_CONFIG)


@pytest.mark.parametrize("part", ["bias_in", "weight_out", "bias_out"])
def test_a_projection_that_does_not_fit(tmp_path, part):
    parts = draw_encoder(TINY, length=5, inner=20)
    parts[part] = parts[part][:-1].copy()
    save_file(named(parts, OFFICIAL), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=rf"{OFFICIAL[part]} is \[.*must be"):
        read_prefix(tmp_path, TINY_CONFIG)


def test_a_projection_that_overflows(tmp_path):
    parts = draw_encoder(TINY, length=5, inner=20)
    parts["weight_out"][:] = 3e38
    parts["bias_in"][:] = 3e38
    save_file(named(parts, OFFICIAL), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"trans\.2\.weight gives NaN"):
        read_prefix(tmp_path, TINY_CONFIG)


def test_two_encoders(tmp_path):
    parts = {"table": draw_encoder(TINY, length=5, inner=20)["table"]}
    save_file(named(parts, OFFICIAL) | named(parts, MINDFORMERS), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="two prefix encoders"):
        read_prefix(tmp_path, TINY_CONFIG)


def test_no_prefix(tmp_path):
    save_file({"x.lora_A.weight": np.zeros((5, 4), np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"no P-Tuning v2 prefix; it holds x\.lora_A"):
        read_prefix(tmp_path, CONFIG)
