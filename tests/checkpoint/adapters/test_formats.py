"""Adapters in .ckpt files that MindSpore itself wrote, and in .bin files as torch writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from glmlite.checkpoint import open_checkpoint
from glmlite.checkpoint.adapters import AdaptedCheckpoint, adapt
from glmlite.exporter.config import Adapter
from glmlite.model.config import from_huggingface
from tests.checkpoint import torch_zip
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
from tests.checkpoint.saving import run
from tests.fixtures import drawing
from tests.fixtures.models import MODELS
from tests.fixtures.writing import write_checkpoint

MODEL = MODELS["glm2"]
CONFIG = from_huggingface(MODEL.config)
QKV = "transformer.encoder.layers.1.self_attention.query_key_value"
FACTORS, ENCODER = draw_factors(MODEL, 8), draw_encoder(MODEL, length=5, inner=20)
TABLE = "transformer.embedding.word_embeddings.weight"


def save(python: str, path: Path, tensors: dict[str, NDArray[Any]]) -> Path:
    np.savez(path.with_suffix(".npz"), **tensors)
    run(python, "save", path.with_suffix(".npz"), path)
    return path


def check(adapted: AdaptedCheckpoint, prefix: bool = False) -> None:
    a, b = FACTORS[QKV]
    wanted = drawing.tensors(MODEL)[f"{QKV}.weight"] + 4.0 * (b.astype("f8") @ a)
    np.testing.assert_allclose(adapted.read(f"{QKV}.weight"), wanted, atol=1e-6)
    np.testing.assert_array_equal(adapted.read(TABLE), drawing.tensors(MODEL)[TABLE])
    if prefix:
        assert adapted.prefix is not None
        wanted = encoded_cache(MODEL, ENCODER)[1][1]
        np.testing.assert_allclose(adapted.prefix[1][1], wanted, atol=2e-6)


@pytest.mark.mindspore
def test_lora_and_prefix_in_a_ckpt(tmp_path: Path, python: str) -> None:
    """With the optimizer's state and the counters that MindFormers leaves in the same file."""
    lora = mindpet_tensors(FACTORS)
    state = {f"adam_m.{name}": array for name, array in lora.items()}
    counters = {"global_step": np.array([7], np.int32), "learning_rate": np.ones(1, np.float32)}
    tensors = lora | named(ENCODER, MINDFORMERS) | state | counters
    path = save(python, tmp_path / "glm2_6b_lora.ckpt", tensors)
    base = open_checkpoint(write_checkpoint(MODEL, tmp_path / "base"))
    check(adapt(base, CONFIG, [Adapter(path)]), prefix=True)


@pytest.mark.mindspore
def test_a_whole_lora_training_is_one_checkpoint(tmp_path: Path, python: str) -> None:
    """Base model under MindFormers' names and LoRA, merged from shards into one .ckpt."""
    tensors = dict(drawing.tensors(MODEL))
    tensors["transformer.embedding.embedding_table"] = tensors.pop(TABLE)
    tensors |= mindpet_tensors(FACTORS, upper=False)
    path = save(python, tmp_path / "merged.ckpt", tensors)
    alone = adapt(open_checkpoint(path), CONFIG)
    check(alone)
    assert alone.fingerprint()["adapters"][0]["alpha"] == [32.0]
    # Named as an adapter of the plain base, its frozen copies of the weights change nothing.
    base = open_checkpoint(write_checkpoint(MODEL, tmp_path / "base"))
    check(adapt(base, CONFIG, [Adapter(path)]))


def test_torch_files(tmp_path: Path) -> None:
    """adapter_model.bin of PEFT, and pytorch_model.bin of the official P-Tuning."""
    folder = write_peft(tmp_path / "lora", {}, r=8, lora_alpha=32)
    (folder / "adapter_model.safetensors").unlink()
    tensors = {}
    for name, (a, b) in FACTORS.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = torch_zip.tensor(a)
        tensors[f"base_model.model.{name}.lora_B.weight"] = torch_zip.tensor(b)
    torch_zip.save(folder / "adapter_model.bin", tensors)
    (tmp_path / "ptuning").mkdir()
    parts = {name: torch_zip.tensor(a) for name, a in named(ENCODER, OFFICIAL).items()}
    torch_zip.save(tmp_path / "ptuning" / "pytorch_model.bin", parts)
    (tmp_path / "ptuning" / "config.json").write_text(json.dumps({"pre_seq_len": 5}))
    base = open_checkpoint(write_checkpoint(MODEL, tmp_path / "base"))
    entries = [Adapter(folder), Adapter(tmp_path / "ptuning")]
    check(adapt(base, CONFIG, entries), prefix=True)


def test_no_weights_beside_the_configuration(tmp_path: Path) -> None:
    from glmlite.errors import CheckpointError

    folder = write_peft(tmp_path / "lora", {}, r=8, lora_alpha=32)
    (folder / "adapter_model.safetensors").unlink()
    base = open_checkpoint(write_checkpoint(MODEL, tmp_path / "base"))
    with pytest.raises(CheckpointError, match=r"neither adapter_model\.safetensors nor"):
        adapt(base, CONFIG, [Adapter(folder)])
