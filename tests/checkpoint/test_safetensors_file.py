"""Safetensors files: equal to the library on good ones, strict on bad ones."""

from __future__ import annotations

import json
import os
import struct

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from glmlite.checkpoint.safetensors_file import SafetensorsFile
from glmlite.errors import CheckpointError


def write(path, header, data=b""):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_reads_what_the_library_writes(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        "a": rng.normal(size=(3, 5)).astype(np.float32),
        "b": rng.normal(size=(7,)).astype(np.float16),
        "scalar": np.array(2.5, np.float32),
    }
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    file = SafetensorsFile(tmp_path / "x.safetensors")
    assert set(file.entries) == set(tensors)
    for name, tensor in tensors.items():
        read = file.read(name)
        assert read.dtype == tensor.dtype
        assert read.shape == tensor.shape
        np.testing.assert_array_equal(read, tensor)
        read[...] = 0  # memory of its own
        np.testing.assert_array_equal(file.read(name), tensor)


def test_every_bfloat16_is_exact(tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    bits = np.arange(1 << 16, dtype=np.uint16)
    values = bits.view(ml_dtypes.bfloat16)
    finite = values[np.isfinite(values.astype(np.float32))]
    header = {"w": entry("BF16", [finite.size], 0, 2 * finite.size)}
    file = SafetensorsFile(write(tmp_path / "x.safetensors", header, finite.tobytes()))
    read = file.read("w")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, finite.astype(np.float32))
    assert np.signbit(read[finite.view(np.uint16) == 0x8000]).all()  # -0.0 too


def test_tensors_longer_than_a_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr("glmlite.checkpoint.tensor_file._CHUNK_ELEMENTS", 7)
    tensor = np.arange(50, dtype=np.float32).reshape(5, 10)
    save_file({"w": tensor, "h": tensor.astype(np.float16)}, tmp_path / "x.safetensors")
    file = SafetensorsFile(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(file.read("w"), tensor)
    np.testing.assert_array_equal(file.read("h"), tensor)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_must_be_finite(tmp_path, dtype, value):
    if dtype == "BF16":
        data = b"\0\0" + struct.pack("<f", value)[2:]
    else:
        data = np.array([0, value], {"F32": np.float32, "F16": np.float16}[dtype]).tobytes()
    header = {"the.weight": entry(dtype, [2], 0, len(data))}
    file = SafetensorsFile(write(tmp_path / "x.safetensors", header, data))
    with pytest.raises(CheckpointError, match=r"the\.weight holds NaN"):
        file.read("the.weight")


DAMAGED = {
    "truncated": ({"w": entry("F32", [2], 0, 8)}, b"\0" * 4, "truncated"),
    "trailing bytes": ({"w": entry("F32", [2], 0, 8)}, b"\0" * 12, "4 bytes after"),
    "overlap": (
        {"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 4, 12)},
        b"\0" * 12,
        "tensor b begins at byte 4",
    ),
    "hole": (
        {"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 12, 20)},
        b"\0" * 20,
        "tensor b begins at byte 12",
    ),
    "same bytes twice": (
        {"a": entry("F32", [2], 0, 8), "b": entry("F32", [2], 0, 8)},
        b"\0" * 8,
        "begins at byte 0",
    ),
    "wrong size": ({"w": entry("F32", [3], 0, 8)}, b"\0" * 8, "w needs 12 bytes"),
    "negative shape": ({"w": entry("F32", [-2], 0, 8)}, b"\0" * 8, "shape of tensor w"),
    "negative offset": ({"w": entry("F32", [2], -8, 0)}, b"\0" * 8, "offsets of tensor w"),
    "float shape": ({"w": entry("F32", [2.0], 0, 8)}, b"\0" * 8, "shape of tensor w"),
    "overflow": ({"w": entry("F32", [2**40, 2**40], 0, 8)}, b"\0" * 8, "w needs"),
    "beyond the file": ({"w": entry("F32", [2**40], 0, 2**42)}, b"\0" * 8, "truncated"),
    "unknown dtype": ({"w": entry("F4", [2], 0, 8)}, b"\0" * 8, "unknown dtype"),
    "no entry": ({"w": 3}, b"", "entry of tensor w"),
    "key missing": ({"w": {"dtype": "F32", "shape": [1]}}, b"", "entry of tensor w"),
    "array": (b"[]", b"", "not a JSON object"),
    "not JSON": (b"{", b"", "not JSON"),
    "not UTF-8": (b'{"\xff":1}', b"", "not JSON"),
    "deep": (b"[" * 200_000, b"", "not JSON"),
    "duplicate": (
        b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        b"\0" * 8,
        "'w' occurs twice",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_refused(tmp_path, name):
    header, data, message = DAMAGED[name]
    path = write(tmp_path / "bad.safetensors", header, data)
    with pytest.raises(CheckpointError, match=message) as error:
        SafetensorsFile(path)
    assert "bad.safetensors" in str(error.value)
    with pytest.raises((SafetensorError, UnicodeDecodeError)):  # the library agrees
        safe_open(path, "np")


@pytest.mark.parametrize(
    "raw", [b"", b"\0" * 7, b"\xff" * 64, struct.pack("<Q", 100) + b"{}", b"<!DOCTYPE html>" * 9]
)
def test_files_that_are_something_else(tmp_path, raw):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"bad\.safetensors"):
        SafetensorsFile(path)


@pytest.mark.parametrize("name", ["", "a\x1b[31m", "a\nb", "n" * 600])
def test_names_cannot_paint_the_terminal(tmp_path, name):
    path = write(tmp_path / "x.safetensors", {name: entry("F32", [1], 0, 4)}, b"\0" * 4)
    with pytest.raises(CheckpointError) as error:
        SafetensorsFile(path)
    assert "\x1b" not in str(error.value)


def test_a_file_that_shrinks_later_is_refused(tmp_path):
    path = write(tmp_path / "x.safetensors", {"w": entry("F32", [64], 0, 256)}, b"\0" * 256)
    file = SafetensorsFile(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="was changed"):
        file.read("w")
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        file.read("w")


@pytest.mark.parametrize("how", ["overwritten", "replaced"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, how):
    path = tmp_path / "x.safetensors"
    save_file({"a": np.ones(3, np.float32)}, path)
    file = SafetensorsFile(path)
    other = tmp_path / "y.safetensors"
    save_file({"a": np.zeros(3, np.float32)}, other)
    if how == "replaced":
        other.replace(path)
    else:
        path.write_bytes(other.read_bytes())
        os.utime(path, ns=(1, 1))
    with pytest.raises(CheckpointError, match="was changed while it was being read"):
        file.read("a")
    with pytest.raises(CheckpointError, match="was changed"):
        list(file.samples("a", 4, 4))
