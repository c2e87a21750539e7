"""`glmlite convert`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from glmlite.checkpoint import open_checkpoint
from glmlite.cli.convert import convert


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file({"w": np.ones((3, 4), np.float32)}, tmp_path / "model.safetensors")
    return tmp_path


def test_says_what_was_written(folder: Path) -> None:
    result = CliRunner().invoke(convert, [str(folder), str(folder / "x.ckpt")])
    assert result.exit_code == 0, result.output
    assert "x.ckpt: 1 tensors (float32), 48 B in 0 s." in result.stdout
    assert "A .ckpt holds weights only" in result.stdout
    assert open_checkpoint(folder / "x.ckpt").format == "mindspore"


def test_json(folder: Path) -> None:
    arguments = [str(folder), str(folder / "out"), "--dtype", "bfloat16", "--json"]
    result = CliRunner().invoke(convert, arguments)
    report = json.loads(result.stdout)
    assert report["path"] == str(folder / "out")
    assert report["dtypes"] == {"bfloat16": 1}
    assert report["nbytes"] == 24
    again = CliRunner().invoke(convert, arguments)
    assert "--force" in str(again.exception)
    assert CliRunner().invoke(convert, [*arguments, "--force"]).exit_code == 0
