"""Bad checkpoints and recipes: one clear error each, and nothing left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glmlite.errors import CheckpointError, ConfigError, GlmliteError, TokenizerError
from glmlite.exporter.pipeline import run_export
from tests.fixtures import drawing
from tests.fixtures.models import MODELS
from tests.fixtures.writing import write_checkpoint, write_safetensors

DENSE = "transformer.encoder.layers.1.self_attention.dense.weight"
DEMO_TOKENIZER = Path(__file__).parents[2] / "glmlite" / "demo" / "checkpoint" / "tokenizer.model"


class Attempt:
    """A checkpoint to spoil, and an export of it that must fail without a trace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint = write_checkpoint(MODELS["glm2"], folder / "checkpoint")
        self.output = folder / "out" / "bundle"
        self.recipe: dict[str, Any] = {
            "model": {"checkpoint": str(self.checkpoint)},
            "export": {"output": str(self.output), "cache_length": 64, "prefill_tokens": [7]},
        }

    def rewrite(self, change: Callable[[dict[str, Any]], None], dtype: str = "float32") -> None:
        """Store the model's tensors again, changed."""
        tensors = drawing.tensors(MODELS["glm2"])
        change(tensors)
        write_safetensors(self.checkpoint / "model.safetensors", tensors, dtype)

    def config(self, **changes: Any) -> None:
        """Change config.json; None removes a key."""
        path = self.checkpoint / "config.json"
        data = json.loads(path.read_text(encoding="utf-8")) | changes
        kept = {key: value for key, value in data.items() if value is not None}
        path.write_text(json.dumps(kept), encoding="utf-8")

    def fails(self, kind: type[GlmliteError], *words: str, **overrides: Any) -> None:
        """Export; the error is a `kind`, says all `words`, and nothing stays."""
        before = sorted(self.checkpoint.rglob("*"))
        with pytest.raises(GlmliteError) as caught:
            run_export(self.recipe, overrides=overrides)
        assert type(caught.value) is kind, repr(caught.value)
        message = str(caught.value)
        for word in words:
            assert word in message, message
        assert "{" not in message.replace("{...}", ""), message
        assert not self.output.exists()
        assert not self.output.parent.exists() or not list(self.output.parent.iterdir())
        assert sorted(self.checkpoint.rglob("*")) == before


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    return Attempt(tmp_path)


def test_missing_tensor(attempt: Attempt) -> None:
    attempt.rewrite(lambda tensors: tensors.pop(DENSE))
    attempt.fails(CheckpointError, "missing", DENSE)


def test_renamed_tensor(attempt: Attempt) -> None:
    renamed = DENSE.replace("self_attention", "attention")

    def rename(tensors: dict[str, Any]) -> None:
        tensors[renamed] = tensors.pop(DENSE)

    attempt.rewrite(rename)
    attempt.fails(CheckpointError, DENSE, renamed)


def test_unknown_tensor(attempt: Attempt) -> None:
    attempt.rewrite(lambda t: t.update({"transformer.extra.weight": np.ones((2, 2), "f4")}))
    attempt.fails(CheckpointError, "transformer.extra.weight")


def test_wrong_shape(attempt: Attempt) -> None:
    def transpose(tensors: dict[str, Any]) -> None:
        name = DENSE.replace("self_attention.dense", "mlp.dense_4h_to_h")
        tensors[name] = np.ascontiguousarray(tensors[name].T)

    attempt.rewrite(transpose)
    attempt.fails(CheckpointError, "mlp.dense_4h_to_h", "80, 48", "48, 80")


def test_sizes_of_another_model(attempt: Attempt) -> None:
    attempt.config(hidden_size=64)
    attempt.fails(CheckpointError, "word_embeddings", "64")


@pytest.mark.parametrize("kept", [0, 5, 100, 5000, -1])
def test_truncated_file(attempt: Attempt, kept: int) -> None:
    path = attempt.checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    attempt.fails(CheckpointError, "model.safetensors", "truncated")


def test_truncated_shard(attempt: Attempt) -> None:
    shutil.rmtree(attempt.checkpoint)
    write_checkpoint(MODELS["fp16_shards"], attempt.checkpoint)
    shard = sorted(attempt.checkpoint.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    attempt.fails(CheckpointError, shard.name, "truncated")


def test_missing_shard(attempt: Attempt) -> None:
    shutil.rmtree(attempt.checkpoint)
    write_checkpoint(MODELS["fp16_shards"], attempt.checkpoint)
    shard = sorted(attempt.checkpoint.glob("*.safetensors"))[2]
    shard.unlink()
    attempt.fails(CheckpointError, shard.name, "missing")


def test_tensor_in_the_wrong_shard(attempt: Attempt) -> None:
    shutil.rmtree(attempt.checkpoint)
    write_checkpoint(MODELS["fp16_shards"], attempt.checkpoint)
    index = attempt.checkpoint / "model.safetensors.index.json"
    data = json.loads(index.read_text())
    files = sorted(set(data["weight_map"].values()))
    data["weight_map"][DENSE] = next(f for f in files if f != data["weight_map"][DENSE])
    index.write_text(json.dumps(data))
    attempt.fails(CheckpointError, DENSE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_weights_that_are_no_numbers(attempt: Attempt, value: float, dtype: str) -> None:
    """Found while streaming, after files were written already."""

    def spoil(tensors: dict[str, Any]) -> None:
        tensors[DENSE][3, 5] = value

    attempt.rewrite(spoil, dtype)
    attempt.fails(CheckpointError, DENSE, "NaN")


def test_too_large_for_float16(attempt: Attempt) -> None:
    def grow(tensors: dict[str, Any]) -> None:
        tensors[DENSE][0, 0] = 70000.0

    attempt.rewrite(grow)
    attempt.fails(CheckpointError, DENSE, "float16", **{"model.dtype": "float16"})


def test_pickled_checkpoint(attempt: Attempt) -> None:
    (attempt.checkpoint / "model.safetensors").rename(attempt.checkpoint / "pytorch_model.bin")
    attempt.fails(CheckpointError, "pytorch_model.bin", "safetensors")


def test_nothing_there(attempt: Attempt) -> None:
    attempt.recipe["model"]["checkpoint"] = str(attempt.folder / "nowhere")
    attempt.fails(CheckpointError, "nowhere")


@pytest.mark.parametrize(
    ("section", "wrong", "right"),
    [
        ("export", "cache_lenght", "export.cache_length"),
        ("model", "chekpoint", "model.checkpoint"),
        ("export", "prefil_tokens", "export.prefill_tokens"),
    ],
)
def test_unknown_key(attempt: Attempt, section: str, wrong: str, right: str) -> None:
    attempt.recipe[section][wrong] = 64
    attempt.fails(ConfigError, f"{section}.{wrong}", right.rpartition(".")[2])


def test_unknown_section(attempt: Attempt) -> None:
    attempt.recipe["exprot"] = {}
    attempt.fails(ConfigError, "exprot", "export")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("export.cache_length", 0),
        ("export.cache_length", "many"),
        ("export.cache_length", 4),  # shorter than the prefill chunk
        ("export.batch_size", -1),
        ("export.prefill_tokens", []),
        ("export.parity", "most"),
        ("export.format", "gguf"),
        ("model.dtype", "int8"),
        ("model.family", "glm4"),
    ],
)
def test_values_out_of_range(attempt: Attempt, key: str, value: Any) -> None:
    attempt.fails(ConfigError, key, **{key: value})


def test_32k_model_of_unknown_origin(attempt: Attempt) -> None:
    attempt.config(rope_ratio=16, _name_or_path="/data/model")
    attempt.recipe["model"]["family"] = "base"
    attempt.fails(ConfigError, "rope_ratio", "model.rope.kind")


def test_another_network(attempt: Attempt) -> None:
    attempt.config(padded_vocab_size=None, kv_channels=None)
    attempt.fails(ConfigError, "padded_vocab_size", "kv_channels")


def test_heads_that_do_not_divide(attempt: Attempt) -> None:
    attempt.config(multi_query_group_num=3)
    attempt.fails(ConfigError, "3")


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00", '{"num_layers": NaN'])
def test_config_that_is_no_json_object(attempt: Attempt, text: str) -> None:
    (attempt.checkpoint / "config.json").write_text(text)
    attempt.fails(CheckpointError, "config.json")


def test_tokenizer_with_more_ids_than_the_vocabulary(attempt: Attempt) -> None:
    attempt.recipe["model"]["tokenizer"] = str(DEMO_TOKENIZER)
    attempt.fails(TokenizerError, "256")


@pytest.mark.parametrize("data", [b"", b"no tokenizer at all", b"\x0a\x10" * 50])
def test_tokenizer_that_is_none(attempt: Attempt, data: bytes) -> None:
    (attempt.checkpoint / "tokenizer.model").write_bytes(data)
    attempt.fails(TokenizerError, "tokenizer.model")


def test_prefix_of_another_model(attempt: Attempt) -> None:
    folder = attempt.folder / "adapter"
    folder.mkdir()
    table = {drawing.PREFIX_TENSOR: np.zeros((5, 99), "f4")}
    write_safetensors(folder / "model.safetensors", table, "float32")
    attempt.recipe["model"]["adapter"] = str(folder)
    attempt.fails(CheckpointError, "99")


def test_prefix_that_leaves_no_room(attempt: Attempt) -> None:
    folder = write_checkpoint(MODELS["prefix"], attempt.folder / "other") / "adapter"
    attempt.recipe["model"]["adapter"] = str(folder)
    attempt.fails(ConfigError, "5", **{"export.cache_length": 8})
