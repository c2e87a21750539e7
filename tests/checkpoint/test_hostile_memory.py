"""What a file asks for is not allocated: every hostile file is opened where memory is short."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkpoint import hostile_files

ROOT = Path(__file__).parents[2]
# Name of the file -> the error that a user sees.
REFUSALS = {
    "length.ckpt": "CheckpointError: length.ckpt is not a valid MindSpore checkpoint: byte",
    "shape.ckpt": "CheckpointError: shape.ckpt is not a valid MindSpore checkpoint: tensor w needs",
    "name.ckpt": "CheckpointError: name.ckpt is not a valid MindSpore checkpoint: it has a name",
    "count.ckpt": "CheckpointError: count.ckpt is not a valid MindSpore checkpoint: it has more",
    "bomb_pickle.bin": "CheckpointError: bomb_pickle.bin is not a valid torch checkpoint: its rec",
    "bomb_data.bin": "CheckpointError: bomb_data.bin is not a valid torch checkpoint: its record",
    "storage.bin": "CheckpointError: storage.bin is not a valid torch checkpoint: tensor w says",
    "view.bin": "CheckpointError: view.bin is not a valid torch checkpoint: tensor w is larger",
    "lists.bin": "CheckpointError: lists.bin is not a valid torch checkpoint: its data.pkl",
    "memo.bin": "CheckpointError: memo.bin is not a valid torch checkpoint: it holds no state",
    "text.bin": "CheckpointError: text.bin is not a valid torch checkpoint: its data.pkl",
    "length.safetensors": "CheckpointError: length.safetensors is not a valid safetensors file: i",
    "shape.safetensors": "CheckpointError: shape.safetensors is not a valid safetensors file: te",
    "offsets.safetensors": "CheckpointError: offsets.safetensors is truncated",
    "digits.safetensors": "CheckpointError: digits.safetensors is not a valid safetensors file: t",
    "lists.safetensors": "CheckpointError: lists.safetensors is not a valid safetensors file: its",
    "index": "CheckpointError: ../outside.safetensors leads out of the checkpoint folder",
    "zeros": "CheckpointError: model.safetensors leads out of the checkpoint folder",
    "lists.yaml": "ConfigError: lists.yaml, line 1: more than",
    "maps.yaml": "ConfigError: maps.yaml, line 1: more than",
    "merges.yaml": "ConfigError: merges.yaml, line 1: more than",
    "itself.yaml": "ConfigError: itself.yaml, line 2: a value that holds itself",
    "digits.yaml": "ConfigError: digits.yaml, line 1: a number of that many digits",
    "deep.yaml": "ConfigError: deep.yaml is not valid YAML",
    "large.yaml": "ConfigError: large.yaml is too large for a recipe",
    "large_table.json": "ConfigError: large_table.json is no rank table: it is too large",
    "same_table.json": "ConfigError: same_table.json would not work as a rank table:\n  10.0.0.1 l",
    "deep_table.json": "ConfigError: deep_table.json is no rank table",
    "rank_adapter": "CheckpointError: rank_adapter: base_model.model.transformer.encoder.layers.0",
    "digits_adapter": "CheckpointError: digits_adapter: base_model.model.transformer.encoder.laye",
    "alpha_adapter": "ConfigError: adapter_config.json: lora_alpha is 1",
    "factor_adapter": "CheckpointError: adapter_config.json is not valid JSON",
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What opening each file gave."""
    if not Path("/proc/self/status").is_file():
        pytest.skip("this system does not tell how much memory a process has")
    folder = tmp_path_factory.mktemp("hostile")
    hostile_files.write_all(folder)
    result = subprocess.run(
        [sys.executable, "-m", hostile_files.__name__, str(folder)],
        cwd=ROOT,
        env=os.environ | {"GLMLITE_LANG": "en", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    told: dict[str, str] = json.loads(result.stdout)
    return told


def test_memory_is_really_short(said: dict[str, str]) -> None:
    assert said.pop("control").startswith("MemoryError")
    assert said.keys() == REFUSALS.keys()


@pytest.mark.parametrize("name", REFUSALS)
def test_it_is_refused_without_allocating(said: dict[str, str], name: str) -> None:
    assert said[name].startswith(REFUSALS[name])
    assert len(said[name]) < 3000, "a message that fills the screen"
