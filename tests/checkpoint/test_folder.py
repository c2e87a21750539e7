"""Hugging Face folders, whole and broken."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from glmlite.checkpoint import check_parameters, open_checkpoint
from glmlite.checkpoint.folder import INDEX, SINGLE
from glmlite.errors import CheckpointError
from glmlite.model.config import from_huggingface
from tests.checkpoint.hugging_face import (
    QKV,
    TINY,
    weights,
    write_index,
    write_sharded,
    write_single,
)


def test_golden_model(golden_dir):
    checkpoint = open_checkpoint(golden_dir / "glm2_tiny")
    config = from_huggingface(checkpoint.raw_config)
    check_parameters(checkpoint, config)
    assert checkpoint.dtype == "float32"
    assert checkpoint.tokenizer_path is None
    size = (golden_dir / "glm2_tiny" / SINGLE).stat().st_size
    assert size - 4096 < checkpoint.nbytes < size


def test_single_and_sharded_are_the_same(tmp_path):
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    tensors = weights()
    write_single(tmp_path / "one", tensors)
    write_sharded(tmp_path / "many", tensors)
    one, many = open_checkpoint(tmp_path / "one"), open_checkpoint(str(tmp_path / "many"))
    check_parameters(one, TINY)
    check_parameters(many, TINY)
    assert one.fingerprint() == many.fingerprint()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(many.read(name), tensor)
    assert one.raw_config is None
    direct = open_checkpoint(tmp_path / "many" / INDEX)
    assert direct.shapes() == many.shapes()


def test_a_file_finds_its_neighbours(tmp_path):
    write_single(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "chatglm"}')
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    checkpoint = open_checkpoint(tmp_path / SINGLE)
    assert checkpoint.raw_config == {"model_type": "chatglm"}
    assert checkpoint.tokenizer_path == tmp_path / "tokenizer.model"


def test_dtype_is_that_of_most_bytes(tmp_path):
    tensors = weights(dtype=np.float16)
    tensors["transformer.encoder.final_layernorm.weight"] = np.ones(8, np.float32)
    checkpoint = open_checkpoint(write_single(tmp_path, tensors))
    assert checkpoint.dtype == "float16"
    assert checkpoint.read(QKV).dtype == np.float16
    assert checkpoint.fingerprint()["dtype"] == "float16"


def test_fingerprints_tell_checkpoints_apart(tmp_path):
    seen = set()
    tensors = {"w": np.zeros((256, 256), np.float32), "v": np.zeros(4, np.float32)}
    variants = [tensors]
    variants.append({**tensors, "v": np.ones(4, np.float32)})
    variants.append({**tensors, "w": np.ones((256, 256), np.float32)})
    variants.append({**tensors, "w": tensors["w"].reshape(128, 512)})
    variants.append({"u": tensors["w"], "v": tensors["v"]})
    variants.append({**tensors, "v": np.zeros(8, np.float16)})
    last = tensors["w"].copy()
    last[-1, -1] = 1
    variants.append({**tensors, "w": last})
    for i, variant in enumerate(variants):
        folder = tmp_path / str(i)
        folder.mkdir()
        seen.add(open_checkpoint(write_single(folder, variant)).fingerprint()["sha256"])
    assert len(seen) == len(variants)
    (tmp_path / "again").mkdir()
    save_file(tensors, tmp_path / "again" / SINGLE, metadata={"format": "pt", "note": "moved"})
    assert open_checkpoint(tmp_path / "again").fingerprint()["sha256"] in seen


def test_quantized_checkpoints_are_refused_by_name(tmp_path):
    write_single(tmp_path, {**weights(), QKV: np.zeros((16, 8), np.int8)})
    with pytest.raises(CheckpointError, match=f"{QKV} has dtype I8"):
        open_checkpoint(tmp_path)


def test_unknown_tensor(tmp_path):
    with pytest.raises(CheckpointError, match="no tensor nothing"):
        open_checkpoint(write_single(tmp_path)).read("nothing")


def test_missing_shard(tmp_path):
    write_sharded(tmp_path)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match="model-00002-of-00003"):
        open_checkpoint(tmp_path)


def test_truncated_shard(tmp_path):
    write_sharded(tmp_path)
    shard = tmp_path / "model-00003-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match=r"model-00003-of-00003\.safetensors is truncated"):
        open_checkpoint(tmp_path)


def test_index_and_shards_disagree(tmp_path):
    weight_map = write_sharded(tmp_path)
    write_index(tmp_path, {**weight_map, "ghost": weight_map[QKV]})
    with pytest.raises(CheckpointError, match="promises tensor ghost"):
        open_checkpoint(tmp_path)
    without = {name: shard for name, shard in weight_map.items() if name != QKV}
    write_index(tmp_path, without)
    with pytest.raises(CheckpointError, match=f"holds tensor {QKV}"):
        open_checkpoint(tmp_path)


def test_a_tensor_in_two_shards(tmp_path):
    save_file({"w": np.zeros(1, np.float32)}, tmp_path / "a.safetensors")
    save_file(
        {"w": np.zeros(1, np.float32), "v": np.ones(1, np.float32)}, tmp_path / "b.safetensors"
    )
    write_index(tmp_path, {"w": "a.safetensors", "v": "b.safetensors"})
    with pytest.raises(CheckpointError, match=r"b\.safetensors holds tensor w"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("shard", ["../out.safetensors", "/etc/passwd", "a\0b", "a\x1bb", ".."])
def test_shards_stay_inside_the_folder(tmp_path, shard):
    save_file({"w": np.zeros(1, np.float32)}, tmp_path / "out.safetensors")
    folder = tmp_path / "model"
    folder.mkdir()
    write_index(folder, {"w": shard})
    with pytest.raises(CheckpointError, match="leads out") as error:
        open_checkpoint(folder)
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("name", [SINGLE, INDEX, "config.json", "tokenizer.model"])
def test_links_out_of_the_folder_are_refused(tmp_path, name):
    folder = tmp_path / "model"
    folder.mkdir()
    if name != SINGLE:
        write_single(folder)
    if name == INDEX:
        (folder / SINGLE).unlink()
    outside = tmp_path / "secret"
    outside.write_text("{}")
    (folder / name).symlink_to(outside)
    with pytest.raises(CheckpointError, match="leads out"):
        open_checkpoint(folder)


def test_link_loops_and_links_to_nothing(tmp_path):
    (tmp_path / SINGLE).symlink_to(tmp_path / SINGLE)
    with pytest.raises(CheckpointError):
        open_checkpoint(tmp_path)


def test_hugging_face_cache_is_links_by_design(tmp_path):
    blobs = tmp_path / "blobs"
    snapshot = tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    write_single(blobs)
    (blobs / SINGLE).rename(blobs / "0123")
    (blobs / "4567").write_text('{"a": 1}')
    (snapshot / SINGLE).symlink_to("../../blobs/0123")
    (snapshot / "config.json").symlink_to("../../blobs/4567")
    for path in (snapshot, snapshot / SINGLE):
        checkpoint = open_checkpoint(path)
        check_parameters(checkpoint, TINY)
        assert checkpoint.raw_config == {"a": 1}
    write_single(tmp_path)
    (snapshot / "tokenizer.model").symlink_to("../../" + SINGLE)
    with pytest.raises(CheckpointError, match="leads out"):
        open_checkpoint(snapshot)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": NaN', "\xff", "[" * 100_000])
def test_broken_config_json(tmp_path, content):
    write_single(tmp_path)
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("weight_map", [None, {}, [], {"w": 3}])
def test_broken_index(tmp_path, weight_map):
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match="weight_map"):
        open_checkpoint(tmp_path)


def test_nothing_that_is_a_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="holds no weights"):
        open_checkpoint(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(CheckpointError, match="no checkpoint that"):
        open_checkpoint(tmp_path / "notes.txt")
    save_file({"w": np.zeros(1, np.float32)}, tmp_path / "model-00001-of-00007.safetensors")
    with pytest.raises(CheckpointError, match="neither"):
        open_checkpoint(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    for path in (tmp_path, tmp_path / "pytorch_model.bin"):
        with pytest.raises(CheckpointError, match="not a valid torch checkpoint"):
            open_checkpoint(path)


def test_nothing_there(tmp_path):
    for path in (tmp_path / "nowhere", "a\0b"):
        with pytest.raises(CheckpointError, match="no checkpoint at"):
            open_checkpoint(path)


def test_special_files(tmp_path):
    os.mkfifo(tmp_path / SINGLE)
    with pytest.raises(CheckpointError, match="not a regular file"):
        open_checkpoint(tmp_path)
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(CheckpointError, match="not a regular file"):
        open_checkpoint(tmp_path / "pipe.safetensors")
