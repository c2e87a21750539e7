"""P-Tuning v2 prefixes."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from glmlite.checkpoint import PREFIX_EMBEDDING, open_checkpoint, read_prefix
from glmlite.errors import CheckpointError, ConfigError
from glmlite.model.config import ModelConfig

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


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.transformer.encoder.layers.0.self_attention.query_key_value.lora_A.weight",
        "transformer.prefix_encoder.trans.0.weight",
    ],
)
def test_other_adapters_are_not_yet_supported(tmp_path, name):
    tensors = {name: np.zeros((5, 40), np.float32)}
    if "trans." in name:
        tensors[PREFIX_EMBEDDING] = np.zeros((5, 48), np.float32)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match="not supported yet"):
        read_prefix(tmp_path, CONFIG)


def test_peft_folders_are_not_yet_supported(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    save_file({"x": np.zeros(1, np.float32)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ConfigError, match="not supported yet"):
        read_prefix(tmp_path, CONFIG)
