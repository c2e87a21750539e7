"""Conversions: bit by bit, readable for MindSpore itself, whole or not at all."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from glmlite.checkpoint import open_checkpoint
from glmlite.checkpoint.convert import convert
from glmlite.checkpoint.mindspore_writer import write_ckpt
from glmlite.checkpoint.names import MINDSPORE_EMBEDDING, to_mindspore
from glmlite.checkpoint.tensors_out import OutputTensor, encode
from glmlite.errors import CheckpointError, ConfigError
from glmlite.model.parameters import EMBEDDING
from glmlite.progress import NoProgress
from tests.checkpoint.saving import run
from tests.checkpoint.test_formats import WRITERS
from tests.checkpoint.test_quantized import quantized_model, write_config
from tests.fixtures import drawing
from tests.fixtures.models import MODELS
from tests.fixtures.writing import write_checkpoint

W = np.arange(12, dtype=np.float32).reshape(3, 4)


def bits_of(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Type and raw bytes of every tensor of a Hugging Face folder, by the safetensors library."""
    found = {}
    for path in folder.glob("*.safetensors"):
        raw = path.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + length])
        with safe_open(path, "np") as opened:
            assert set(opened.keys()) == set(header) - {"__metadata__"}
        for name, entry in header.items():
            if name != "__metadata__" and "inv_freq" not in name:
                begin, end = entry["data_offsets"]
                found[name] = entry["dtype"], raw[8 + length + begin : 8 + length + end]
    return found


@pytest.mark.parametrize("name", ["glm2", "fp16_shards", "bf16"])
def test_round_trips_are_exact(tmp_path: Path, name: str) -> None:
    source = write_checkpoint(MODELS[name], tmp_path / "source")
    (source / "tokenizer.model").write_bytes(b"x")
    there = convert(source, tmp_path / "glm.ckpt")
    assert there.format == "mindspore"
    assert there.dtypes == {MODELS[name].dtype: there.tensors}
    shutil.copy(source / "config.json", tmp_path)
    back = convert(tmp_path / "glm.ckpt", tmp_path / "back", shard_bytes=60_000)
    assert back.format == "safetensors"
    assert (back.tensors, back.nbytes) == (there.tensors, there.nbytes)
    assert bits_of(tmp_path / "back") == bits_of(source)
    assert len(list((tmp_path / "back").glob("model-0*-of-0*.safetensors"))) > 1
    index = json.loads((tmp_path / "back" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == back.nbytes
    opened = open_checkpoint(tmp_path / "back")
    assert opened.raw_config == open_checkpoint(source).raw_config
    again = convert(tmp_path / "back", tmp_path / "again.ckpt")
    assert (tmp_path / "again.ckpt").stat().st_size == (tmp_path / "glm.ckpt").stat().st_size
    assert again.nbytes == there.nbytes
    whole = convert(source, tmp_path / "whole")
    assert bits_of(whole.path) == bits_of(source)
    assert sorted(p.name for p in whole.path.iterdir()) == [
        "config.json", "model.safetensors", "tokenizer.model",
    ]  # fmt: skip
    assert {p.stat().st_mode & 0o777 for p in whole.path.iterdir()} == {0o644}
    assert (whole.path / "config.json").read_bytes() == (source / "config.json").read_bytes()
    assert any("inv_freq" in note for note in whole.notes) == (name == "fp16_shards")


@pytest.mark.parametrize("writer", WRITERS)
def test_from_every_format(tmp_path: Path, writer: str) -> None:
    model = MODELS["fp16_shards"]
    (tmp_path / "in").mkdir()
    report = convert(WRITERS[writer](tmp_path / "in", drawing.tensors(model)), tmp_path / "out")
    assert {n: raw for n, (_type, raw) in bits_of(tmp_path / "out").items()} == {
        name: tensor.tobytes() for name, tensor in drawing.tensors(model).items()
    }
    assert any("no config.json" in note for note in report.notes)
    assert any("training state" in note for note in report.notes) == ("ckpt" in writer)


@pytest.mark.mindspore
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_mindspore_loads_what_is_written(
    tmp_path: Path,
    python: str,
    dtype: str,
) -> None:
    source = write_checkpoint(MODELS["bf16"], tmp_path / "source")
    report = convert(source, tmp_path / "x.ckpt", dtype=dtype)
    assert any("MindSpore 2.0 cannot" in note for note in report.notes) == (dtype == "bfloat16")
    if dtype == "bfloat16" and python != sys.executable:
        with pytest.raises(AssertionError, match="BFloat16"):
            run(python, "load", tmp_path / "x.ckpt", tmp_path / "x.npz")
        return
    run(python, "load", tmp_path / "x.ckpt", tmp_path / "x.npz")
    loaded = np.load(tmp_path / "x.npz")
    mark = "|bfloat16" if dtype == "bfloat16" else ""
    tensors = drawing.tensors(MODELS["bf16"])
    assert set(loaded.files) == {to_mindspore(name) + mark for name in tensors}
    for name, tensor in tensors.items():
        found = loaded[to_mindspore(name) + mark]
        want = tensor.astype(np.float16) if dtype == "float16" else tensor
        assert found.dtype == want.dtype
        np.testing.assert_array_equal(found, want)


@pytest.mark.mindspore
def test_mindspore_joins_the_pieces_of_large_tensors(
    tmp_path: Path,
    python: str,
) -> None:
    save_file({"w": W, EMBEDDING: W + 1}, tmp_path / "model.safetensors")
    source = open_checkpoint(tmp_path)
    tensors = {
        to_mindspore(n): OutputTensor(source, n, "float32", (3, 4)) for n in ("w", EMBEDDING)
    }
    write_ckpt(tensors, tmp_path / "x.ckpt", NoProgress(), piece_bytes=20)
    run(python, "load", tmp_path / "x.ckpt", tmp_path / "x.npz")
    loaded = np.load(tmp_path / "x.npz")
    np.testing.assert_array_equal(loaded["w"], W)
    np.testing.assert_array_equal(loaded[MINDSPORE_EMBEDDING], W + 1)
    np.testing.assert_array_equal(open_checkpoint(tmp_path / "x.ckpt").read(EMBEDDING), W + 1)


def test_quantized_checkpoints_become_real_numbers(tmp_path: Path) -> None:
    stored, real = quantized_model(MODELS["glm2"], 4)
    source = tmp_path / "int4"
    source.mkdir()
    save_file(stored, source / "model.safetensors")
    write_config(source, quantization_bit=4)
    report = convert(source, tmp_path / "out")
    assert report.dtypes == {"float16": len(real)}
    assert "int4" in report.notes[0]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["quantization_bit"], config["torch_dtype"]) == (0, "float16")
    opened = open_checkpoint(tmp_path / "out")
    assert opened.quantization == "none"
    for name, tensor in real.items():
        np.testing.assert_array_equal(opened.read(name), tensor.astype(np.float16))
    convert(source, tmp_path / "exact", dtype="float32")
    exact = open_checkpoint(tmp_path / "exact")
    assert exact.raw_config is not None
    assert exact.raw_config["torch_dtype"] == "float32"
    for name, tensor in real.items():
        np.testing.assert_array_equal(exact.read(name), tensor)


def test_bfloat16_rounds_to_nearest_even() -> None:
    values = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -0.0, 1e-40], np.float32)
    raw = np.frombuffer(encode(values, "bfloat16", "w"), "<u2").astype(np.uint32) << 16
    want = [1, 1, 1 + 2**-6, 1 + 2**-7, -0.0, np.float32(1e-40)]
    found = raw.view(np.float32)
    np.testing.assert_array_equal(found[:5], want[:5])
    np.testing.assert_allclose(found[5], want[5], atol=1e-41)
    assert np.signbit(found[4])


@pytest.mark.parametrize(("dtype", "value"), [("float16", 70000.0), ("bfloat16", 3.4028e38)])
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, dtype: str, value: float) -> None:
    save_file({"the.weight": np.float32([1, -value])}, tmp_path / "model.safetensors")
    for output in ("out", "out.ckpt"):
        with pytest.raises(CheckpointError, match=rf"the\.weight holds .*, which {dtype} cannot"):
            convert(tmp_path, tmp_path / "sub" / output, dtype=dtype)
    assert list((tmp_path / "sub").iterdir()) == []


def test_nothing_stays_of_a_conversion_that_fails(tmp_path: Path) -> None:
    save_file({"a": W, "b": np.float32([np.nan])}, tmp_path / "model.safetensors")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.ckpt").write_bytes(b"precious")
    for output in ("out", "x.ckpt"):
        with pytest.raises(CheckpointError, match="b holds NaN"):
            convert(tmp_path, tmp_path / "sub" / output, overwrite=True)
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["x.ckpt"]
    assert (tmp_path / "sub" / "x.ckpt").read_bytes() == b"precious"


def test_what_is_there_is_replaced_only_when_asked(tmp_path: Path) -> None:
    save_file({"w": W}, tmp_path / "model.safetensors")
    for output in (tmp_path / "out", tmp_path / "x.ckpt"):
        convert(tmp_path / "model.safetensors", output)
        with pytest.raises(CheckpointError, match="--force"):
            convert(tmp_path / "model.safetensors", output)
        convert(tmp_path / "model.safetensors", output, overwrite=True, dtype="float16")
        assert open_checkpoint(output).dtype == "float16"
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "dir.ckpt").mkdir()
    for output in (tmp_path / "out", tmp_path / "dir.ckpt"):
        with pytest.raises(CheckpointError, match="left alone"):
            convert(tmp_path / "model.safetensors", output, overwrite=True)
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_the_source_is_never_replaced(tmp_path: Path) -> None:
    save_file({"w": W}, tmp_path / "model.safetensors")
    for source in (tmp_path, tmp_path / "model.safetensors"):
        with pytest.raises(ConfigError, match="is what would be converted"):
            convert(source, tmp_path, overwrite=True)
    convert(tmp_path, tmp_path / "x.ckpt")
    with pytest.raises(ConfigError, match="is what would be converted"):
        convert(tmp_path / "x.ckpt", tmp_path / "x.ckpt", overwrite=True)


@pytest.mark.parametrize("name", ["x.bin", "x.safetensors", "x.json"])
def test_destinations_that_are_neither(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"neither a folder nor a \.ckpt"):
        convert(tmp_path, tmp_path / name)


def test_a_full_disk_is_noticed_before(tmp_path: Path, monkeypatch: Any) -> None:
    save_file({"w": W}, tmp_path / "model.safetensors")
    usage = shutil.disk_usage(tmp_path)._replace(free=3)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(CheckpointError, match=r"needs .* GB of disk"):
        convert(tmp_path, tmp_path / "sub" / "x.ckpt")
    assert list((tmp_path / "sub").iterdir()) == []
