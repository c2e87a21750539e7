"""A checkpoint whose tensors are not the model's: every difference at once, by name."""

from __future__ import annotations

import numpy as np
import pytest

from glmlite.checkpoint import check_parameters, open_checkpoint
from glmlite.errors import CheckpointError
from tests.checkpoint.hugging_face import QKV, TINY, weights, write_single


def test_renamed_tensors_get_the_nearest_name(tmp_path):
    tensors = weights()
    tensors[QKV.replace("query_key_value", "qkv_proj")] = tensors.pop(QKV)
    with pytest.raises(CheckpointError) as error:
        check_parameters(open_checkpoint(write_single(tmp_path, tensors)), TINY)
    message = str(error.value)
    assert f"missing: {QKV}" in message
    assert QKV.replace("query_key_value", "qkv_proj") in message
    assert "renamed?" in message


def test_all_differences_at_once(tmp_path):
    tensors = weights()
    del tensors["transformer.output_layer.weight"]
    tensors["lora.extra"] = np.zeros((3, 3), np.float32)
    tensors[QKV] = np.zeros((5, 8), np.float32)
    tensors["transformer.rotary_pos_emb.inv_freq"] = np.zeros(2, np.float16)
    checkpoint = open_checkpoint(write_single(tmp_path, tensors))
    with pytest.raises(CheckpointError) as error:
        check_parameters(checkpoint, TINY)
    message = str(error.value)
    assert "1 tensors missing, 1 unexpected, 1 of another shape" in message
    assert "transformer.output_layer.weight" in message
    assert "lora.extra [3, 3]" in message
    assert f"{QKV} is [5, 8]" in message
    assert "[16, 8]" in message
    assert "inv_freq" not in message


def test_long_lists_are_cut(tmp_path):
    write_single(tmp_path, {"transformer.encoder.final_layernorm.weight": np.ones(8, np.float32)})
    with pytest.raises(CheckpointError) as error:
        check_parameters(open_checkpoint(tmp_path), TINY)
    assert "more" in str(error.value)
    assert len(str(error.value).splitlines()) < 15


def test_extra_names_may_be_accepted(tmp_path):
    checkpoint = open_checkpoint(
        write_single(tmp_path, {**weights(), "extra": np.zeros(1, np.float32)})
    )
    check_parameters(checkpoint, TINY, accepted={"extra"})
    with pytest.raises(CheckpointError, match="extra"):
        check_parameters(checkpoint, TINY)
