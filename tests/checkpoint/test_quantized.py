"""The official int4 and int8 checkpoints, read as what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from glmlite.checkpoint import check_parameters, open_checkpoint
from glmlite.checkpoint.quantized import dequantize
from glmlite.errors import CheckpointError
from glmlite.model.config import from_huggingface
from glmlite.model.reference import forward
from tests.checkpoint import torch_zip
from tests.fixtures import drawing
from tests.fixtures.models import MODELS, TinyModel
from tests.oracle import forward64

MODEL = MODELS["glm2"]
NORM = "transformer.encoder.layers.0.input_layernorm.weight"


def quantize(matrix: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Official rule, element by element: packed int8, scales, and what they stand for."""
    top = 2 ** (bits - 1) - 1
    scale = (np.abs(matrix).max(axis=1) / top).astype(np.float16)
    integers = np.rint(matrix / scale.astype(np.float64)[:, None]).clip(-top - 1, top).astype(int)
    real = integers * scale.astype(np.float64)[:, None]
    if bits == 8:
        return integers.astype(np.int8), scale, real
    packed = np.zeros((len(matrix), matrix.shape[1] // 2), np.int8)
    for row, column in np.ndindex(*packed.shape):
        high, low = integers[row, 2 * column], integers[row, 2 * column + 1]
        byte = (high & 15) << 4 | low & 15
        packed[row, column] = byte - 256 if byte > 127 else byte
    return packed, scale, real


def quantized_model(model: TinyModel, bits: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors as the official code stores them, and the real numbers that they stand for."""
    stored: dict[str, Any] = {}
    real: dict[str, Any] = {}
    for name, tensor in drawing.tensors(model).items():
        if ".layers." in name and tensor.ndim == 2:
            stored[name], stored[name + "_scale"], real[name] = quantize(tensor, bits)
        else:
            real[name] = stored[name] = tensor.astype(np.float16)
    return stored, real


def write_config(folder: Path, **changes: Any) -> None:
    (folder / "config.json").write_text(json.dumps(MODEL.config | changes))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("container", ["torch", "safetensors"])
def test_official_checkpoints(tmp_path: Path, bits: int, container: str) -> None:
    stored, real = quantized_model(MODEL, bits)
    write_config(tmp_path, quantization_bit=bits)
    if container == "torch":
        torch_zip.save(tmp_path / "pytorch_model.bin", stored)
    else:
        save_file(stored, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.quantization == f"int{bits}"
    assert checkpoint.dtype == "float16"
    assert checkpoint.fingerprint()["quantization"] == f"int{bits}"
    assert checkpoint.fingerprint()["parameters"] == sum(t.size for t in real.values())
    assert f"int{bits}" in checkpoint.notes()[0]
    config = from_huggingface(checkpoint.raw_config or {})
    check_parameters(checkpoint, config)
    for name, tensor in real.items():
        np.testing.assert_array_equal(checkpoint.read(name), tensor)
    ids = MODEL.prompts["short"]
    (logits,) = forward(config, checkpoint, [ids])
    want = forward64.forward(real, MODEL.config, ids).logits
    np.testing.assert_allclose(logits, want, rtol=0, atol=1e-4)


def test_every_byte_is_two_signed_numbers() -> None:
    packed = np.arange(-128, 128, dtype=np.int8).reshape(2, 128)
    found = dequantize(packed, np.array([1, 0.5], np.float16), 4)
    for (row, column), byte in np.ndenumerate(packed):
        nibbles = [(int(byte) & 255) >> 4, int(byte) & 15]
        signed = [n - 16 if n > 7 else n for n in nibbles]
        assert found[row, 2 * column : 2 * column + 2].tolist() == [
            n * (1, 0.5)[row] for n in signed
        ]


@pytest.mark.parametrize("bits", [4, 8])
def test_without_config_the_shapes_tell(tmp_path: Path, bits: int) -> None:
    stored, _real = quantized_model(MODEL, bits)
    save_file(stored, tmp_path / "model.safetensors")
    assert open_checkpoint(tmp_path).quantization == f"int{bits}"


def test_contradictions_are_refused(tmp_path: Path) -> None:
    stored, _real = quantized_model(MODEL, 4)
    save_file(stored, tmp_path / "model.safetensors")
    write_config(tmp_path, quantization_bit=8)
    with pytest.raises(CheckpointError, match="cannot be told whether to 4 or to 8 bits"):
        open_checkpoint(tmp_path)
    write_config(tmp_path, quantization_bit=0)
    assert open_checkpoint(tmp_path).quantization == "int4"
    save_file({**stored, NORM: np.ones(7, np.float16)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="cannot be told"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("scale", [None, np.ones(7, np.float16), np.ones(96, np.int32)])
def test_integers_without_their_scales_are_refused(tmp_path: Path, scale: Any) -> None:
    stored, _real = quantized_model(MODEL, 8)
    name = "transformer.encoder.layers.1.self_attention.dense.weight"
    stored.pop(name + "_scale")
    if scale is not None:
        stored[name + "_scale"] = scale
    save_file(stored, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=rf"{name}(_scale)? has dtype I") as error:
        open_checkpoint(tmp_path)
    assert "weight_scale" in str(error.value)
