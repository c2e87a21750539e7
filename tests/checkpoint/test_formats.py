"""Folders and files of every format, under one interface and with one fingerprint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from glmlite.checkpoint import check_parameters, open_checkpoint
from glmlite.checkpoint.folder import SINGLE, TORCH_INDEX, TORCH_SINGLE
from glmlite.checkpoint.names import to_mindspore
from glmlite.checkpoint.torch_file import TorchFile
from glmlite.errors import CheckpointError
from glmlite.model.config import from_huggingface
from glmlite.model.parameters import EMBEDDING
from glmlite.model.reference import forward
from tests.checkpoint import torch_zip
from tests.checkpoint.ckpt_message import value
from tests.checkpoint.format_writers import WRITERS
from tests.fixtures import drawing
from tests.fixtures.expected import expected
from tests.fixtures.models import MODELS, TinyModel
from tests.fixtures.writing import write_safetensors


def stored(model: TinyModel) -> dict[str, np.ndarray]:
    """A model's tensors; of bfloat16 the bits."""
    tensors = drawing.tensors(model)
    if model.dtype != "bfloat16":
        return tensors
    return {n: (t.view(np.uint32) >> 16).astype(np.uint16) for n, t in tensors.items()}


@pytest.mark.parametrize("name", ["glm2", "fp16_shards", "bf16"])
@pytest.mark.parametrize("writer", WRITERS)
def test_every_format_gives_the_same_model(tmp_path: Path, name: str, writer: str) -> None:
    model = MODELS[name]
    (tmp_path / "plain").mkdir()
    write_safetensors(tmp_path / "plain" / SINGLE, drawing.tensors(model), model.dtype)
    (tmp_path / "config.json").write_text(json.dumps(model.config))
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    checkpoint = open_checkpoint(WRITERS[writer](tmp_path, stored(model)))
    assert checkpoint.raw_config == model.config
    assert checkpoint.tokenizer_path == tmp_path / "tokenizer.model"
    assert checkpoint.dtype == model.dtype
    config = from_huggingface(checkpoint.raw_config)
    check_parameters(checkpoint, config)
    assert checkpoint.fingerprint() == open_checkpoint(tmp_path / "plain").fingerprint()
    assert bool(checkpoint.notes()) == ("ckpt" in writer)
    want = expected(name, "short")
    (logits,) = forward(config, checkpoint, [want.prompt + want.greedy_ids])
    greedy = logits[len(want.prompt) - 1 : -1].argmax(-1).tolist()
    assert greedy == want.greedy_ids
    np.testing.assert_allclose(logits, want.logits, rtol=0, atol=1e-4)


def test_safetensors_are_preferred(tmp_path: Path) -> None:
    save_file({"w": np.ones(2, np.float32)}, tmp_path / SINGLE)
    (tmp_path / TORCH_SINGLE).write_bytes(b"never opened")
    (tmp_path / "x.ckpt").write_bytes(b"never opened")
    assert open_checkpoint(tmp_path).format == "safetensors"


def test_lightning_checkpoints_are_torch_files(tmp_path: Path) -> None:
    records = torch_zip.records_of({"state_dict": torch_zip.state_dict({"w": np.ones(2, "f4")})})
    torch_zip.write_records(tmp_path / "epoch=3.ckpt", records)
    checkpoint = open_checkpoint(tmp_path / "epoch=3.ckpt")
    assert checkpoint.format == "torch"
    assert list(checkpoint.shapes()) == ["w"]


def test_pieces_may_not_overlap(tmp_path: Path) -> None:
    for name in ("step-100", "step-200"):
        (tmp_path / f"{name}.ckpt").write_bytes(value("w", np.ones(2, np.float32)))
    with pytest.raises(CheckpointError, match=r"w is in step-100\.ckpt and in step-200\.ckpt"):
        open_checkpoint(tmp_path)


def test_both_names_of_the_embedding(tmp_path: Path) -> None:
    tensor = np.ones((2, 2), np.float32)
    parts = value(EMBEDDING, tensor) + value(to_mindspore(EMBEDDING), tensor)
    (tmp_path / "x.ckpt").write_bytes(parts)
    with pytest.raises(CheckpointError, match=r"is in x\.ckpt and in x\.ckpt"):
        open_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize("shard", ["../out.bin", "/etc/passwd", "a\0b", "a\x1bb", ".."])
def test_shards_stay_inside_the_folder(tmp_path: Path, shard: str, monkeypatch: Any) -> None:
    torch_zip.save(tmp_path / "out.bin", {"w": np.ones(1, np.float32)})
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / TORCH_INDEX).write_text(json.dumps({"weight_map": {"w": shard}}))
    monkeypatch.setattr(TorchFile, "_index", None)
    with pytest.raises(CheckpointError, match="leads out") as error:
        open_checkpoint(folder)
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("name", [TORCH_SINGLE, TORCH_INDEX, "x.ckpt", "param_name_map.json"])
def test_links_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_text("{}")
    (folder / name).symlink_to(tmp_path / "secret")
    with pytest.raises(CheckpointError, match="leads out"):
        open_checkpoint(folder)
    (folder / name).unlink()
    (folder / name).symlink_to("nothing")
    with pytest.raises(CheckpointError, match=r"(holds no weights|link to nothing|has neither)"):
        open_checkpoint(folder)


def test_shards_of_unknown_kinds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.xyz").write_bytes(b"x")
    (tmp_path / TORCH_INDEX).write_text(json.dumps({"weight_map": {"w": "weights.xyz"}}))
    with pytest.raises(CheckpointError, match=r"weights\.xyz is no checkpoint that"):
        open_checkpoint(tmp_path)
