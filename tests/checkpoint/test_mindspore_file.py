"""`.ckpt`: what MindSpore saves is read; damaged and hostile files are refused early."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from glmlite.checkpoint import open_checkpoint
from glmlite.checkpoint.mindspore_file import MindSporeFile
from glmlite.checkpoint.names import MINDSPORE_EMBEDDING, is_training_state
from glmlite.errors import CheckpointError
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import EMBEDDING, parameter_shapes
from tests.checkpoint.ckpt_message import message, value
from tests.checkpoint.saving import run

W = np.arange(12, dtype=np.float32).reshape(3, 4)


def bfloat16(array: np.ndarray) -> np.ndarray:
    """Float32 values that bfloat16 holds exactly."""
    return (array.view(np.uint32) & 0xFFFF0000).view(np.float32)


@pytest.mark.mindspore
def test_what_mindspore_saves(tmp_path: Path, python: str) -> None:
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(70, 3)).astype(np.float32)
    tensors = {"w": W, "wide": wide, "half": wide.astype(np.float16), "one": np.float32([3.5])}
    newer = python == sys.executable
    stored = {**tensors, "adam_m.w": W, "global_step": np.int32([7])}
    if newer:
        stored["b|bfloat16"] = bfloat16(wide)
    np.savez(tmp_path / "in.npz", **stored)
    run(python, "save", tmp_path / "in.npz", tmp_path / "x.ckpt", "append")
    checkpoint = open_checkpoint(tmp_path / "x.ckpt")
    expected = tensors | ({"b": bfloat16(wide)} if newer else {})
    assert set(checkpoint.shapes()) == set(expected)
    for name, tensor in expected.items():
        assert checkpoint.read(name).dtype == tensor.dtype
        np.testing.assert_array_equal(checkpoint.read(name), tensor)
    assert set(checkpoint.left_out) == {
        "adam_m.w", "global_step", "epoch_num", "loss_scale", "note",
    }  # fmt: skip
    assert any("adam_m.w" in note or "note" in note for note in checkpoint.notes())


@pytest.mark.mindspore
@pytest.mark.parametrize("how", ["crc", "safetensors"])
def test_what_newer_mindspore_saves(tmp_path: Path, how: str) -> None:
    if importlib.util.find_spec("mindspore") is None:
        pytest.skip("MindSpore is not installed here")
    path = tmp_path / ("x.safetensors" if how == "safetensors" else "x.ckpt")
    tensors = {MINDSPORE_EMBEDDING: W, "w": W.astype(np.float16)}
    if how == "crc":  # MindSpore 2.10 saves no bfloat16 in safetensors beside NumPy 2
        tensors["b|bfloat16"] = bfloat16(W)
    np.savez(tmp_path / "in.npz", **tensors)
    run(sys.executable, "save", tmp_path / "in.npz", path, how)
    checkpoint = open_checkpoint(path)
    np.testing.assert_array_equal(checkpoint.read(EMBEDDING), W)
    np.testing.assert_array_equal(checkpoint.read("w"), W)
    assert checkpoint.dtype_of("w") == "float16"
    if how == "crc":
        assert checkpoint.dtype_of("b") == "bfloat16"


def test_tensors_in_pieces(tmp_path: Path) -> None:
    """As MindSpore cuts what is above 512 MiB; dims are those of the whole."""
    flat = W.tobytes()
    cuts = [(0, 5), (5, 6), (6, 6), (6, 48)]
    parts = b"".join(value("w", flat[a:b], (3, 4), "Float32") for a, b in cuts)
    path = tmp_path / "x.ckpt"
    path.write_bytes(value("a", W) + parts + value("z", W + 1))
    file = MindSporeFile(path)
    assert list(file.entries) == ["a", "w", "z"]
    np.testing.assert_array_equal(file.read("w"), W)
    assert list(file.samples("w", 4, 3)) == [flat[0:4], flat[22:26], flat[44:48]]
    together = message()()
    together.MergeFromString(path.read_bytes())  # the library reads it as one message
    assert len(together.value) == 6


def test_packed_dims_and_single_numbers(tmp_path: Path) -> None:
    packed = value("w", W)
    assert packed.count(b"\x08\x03\x08\x04") == 1
    packed = packed.replace(b"\x08\x03\x08\x04", b"\x0a\x02\x03\x04")
    (tmp_path / "x.ckpt").write_bytes(packed + value("n", np.float32([2]), dims=[0]))
    file = MindSporeFile(tmp_path / "x.ckpt")
    np.testing.assert_array_equal(file.read("w"), W)
    assert file.read("n").shape == ()


GOOD = ("w", W)
HOSTILE = {
    "too few bytes": (lambda: value("w", b"\0" * 44, (3, 4), "Float32"), "needs 48 bytes .* 44"),
    "too many bytes": (lambda: value("w", b"\0" * 52, (3, 4), "Float32"), "needs 48 bytes .* 52"),
    "shape of terabytes": (lambda: value("w", W, [2**40, 2**40]), "needs"),
    "negative": (lambda: value("w", W, [-3, -4]), "shape of tensor w"),
    "many dims": (lambda: value("w", W, [1] * 20), "shape of tensor w"),
    "empty": (lambda: value("w", b"", [0, 4], "Float32"), "needs 0 bytes"),
    "unknown type": (lambda: value("w", W, kind="Int4"), "unknown dtype 'Int4'"),
    "twice": (lambda: value("w", W) + value("v", W) + value("w", W), "w occurs twice"),
    "differing pieces": (
        lambda: value("w", W[:1], (3, 4)) + value("w", W[1:], (4, 3)),
        "pieces of tensor w differ",
    ),
    "painted name": (lambda: value("a\x1b[31m", W), "names a tensor"),
    "no name": (lambda: value("", W), "names a tensor"),
    "endless name": (lambda: value("n" * 10**6, W), "name of 1000000 bytes"),
    "a length beyond the file": (
        lambda: value("w", W)[:-1],
        r"byte \d begins \d+ bytes, but only \d+ are left",
    ),
    "a length of exabytes": (lambda: b"\x0a" + b"\xff" * 8 + b"\x7f", "but only 0 are left"),
    "an endless number": (lambda: b"\x0a" + b"\xff" * 20, "runs past its message"),
    "another message": (lambda: b"\x12\x03abc", "no message of checkpoint values"),
    "text": (lambda: b"<!DOCTYPE html><html>", "no message of checkpoint values|begins"),
    "zeros": (lambda: bytes(100), "no message of checkpoint values"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_files_are_refused(tmp_path: Path, name: str) -> None:
    make, reason = HOSTILE[name]
    (tmp_path / "bad.ckpt").write_bytes(make())
    with pytest.raises(CheckpointError, match=reason) as error:
        MindSporeFile(tmp_path / "bad.ckpt")
    assert "bad.ckpt is not a valid MindSpore checkpoint" in str(error.value)
    assert "\x1b" not in str(error.value)


def test_map_parameters_are_no_tensors(tmp_path: Path) -> None:
    checkpoint = message()()
    checkpoint.value.add(tag="table").maptensor.tensor.add(tensor_type="Float32")
    (tmp_path / "x.ckpt").write_bytes(checkpoint.SerializeToString())
    with pytest.raises(CheckpointError, match="entry 'table' is no tensor"):
        MindSporeFile(tmp_path / "x.ckpt")


def test_no_tensors_at_all(tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="holds no tensors"):
        open_checkpoint(tmp_path / "x.ckpt")
    (tmp_path / "x.ckpt").write_bytes(value("adam_m.w", W))
    with pytest.raises(CheckpointError, match="holds no tensors"):
        open_checkpoint(tmp_path / "x.ckpt")


def test_any_flipped_byte_gives_tensors_or_one_error(tmp_path: Path) -> None:
    good = value("w", W) + value("v", W.astype(np.float16)) + value("v2", W)
    rng = np.random.default_rng(0)
    for _ in range(600):
        data = bytearray(good)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] = rng.integers(256)
        path = tmp_path / "flipped.ckpt"
        path.write_bytes(data[: rng.integers(len(data)) if rng.random() < 0.1 else len(data)])
        try:
            file = MindSporeFile(path)
            for name, entry in file.entries.items():
                assert entry.nbytes <= len(good)
                if entry.dtype in ("F32", "F16"):
                    file.read(name)
        except CheckpointError:
            pass


def test_weights_are_never_taken_for_training_state() -> None:
    config = ModelConfig(2, 8, 2, 1, 4, 6, 11, 16)
    assert not [name for name in parameter_shapes(config) if is_training_state(name)]
    for name in ("adam_v." + EMBEDDING, "moment1.x", "exp_avg_sq.x", "global_step", "scale_sense"):
        assert is_training_state(name)
    for name in ("adam_m", "my.adam_m.x", "global_steps", "stateful.x"):
        assert not is_training_state(name)
