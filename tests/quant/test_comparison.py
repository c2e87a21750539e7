"""Several recipes on one text give what each of them gives alone."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from glmlite.errors import ConfigError, ExportError
from glmlite.quant import comparison
from glmlite.quant.comparison import compare_recipes
from glmlite.quant.cpu_job import CpuJob
from glmlite.quant.cpu_pipeline import run_cpu
from glmlite.quant.job import QuantizeOptions
from tests.fixtures.models import MODELS
from tests.fixtures.writing import write_checkpoint

COARSE = "scheme: block\nbits: 4\nblock_size: 32\nmethod: round\n"
FINE = "scheme: block\nbits: 8\nblock_size: 16\nmethod: round\n"
TWO_SETS = COARSE + "prefill: {scheme: column, bits: 7, smoothing: true}\n"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(MODELS["glm2"], tmp_path / "checkpoint")


def recipe(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def options(model: str = "glm2") -> QuantizeOptions:
    return QuantizeOptions(settings=[f"model.family={MODELS[model].family}"])


def test_each_recipe_as_if_it_were_alone(checkpoint: Path, tmp_path: Path, small_recipe) -> None:
    recipes = [
        recipe(tmp_path, "coarse.yaml", COARSE),
        recipe(tmp_path, "fine.yaml", FINE),
        small_recipe(name="ascend.cfg"),
    ]
    together = compare_recipes(checkpoint, recipes, options())
    assert [r.name for r in together] == ["coarse", "fine", "ascend"]
    assert compare_recipes(checkpoint, recipes[1:2], options()) == together[1:2]
    assert together[1].entry.kl_mean < together[0].entry.kl_mean
    assert together[1].bytes > together[0].bytes
    assert together[2].entry.activations == "float32"
    assert len({r.entry.perplexity_before for r in together}) == 1


def test_a_bundle_says_the_same(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    path = recipe(tmp_path, "two.yaml", TWO_SETS)
    both = compare_recipes(checkpoint, [path], options())
    job = CpuJob.open(checkpoint, path, dataclasses.replace(options(), parity=False))
    made = run_cpu(job, tmp_path / "made")
    assert made.manifest.accuracy == both[0].entry
    page = (made.path / made.manifest.accuracy_report).read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "two (prefill)" in page


def test_a_second_set_of_weights_is_another_row(checkpoint: Path, tmp_path: Path) -> None:
    both = compare_recipes(checkpoint, [recipe(tmp_path, "two.yaml", TWO_SETS)], options())
    assert [r.name for r in both] == ["two", "two (prefill)"]
    assert both[1].entry.kl_mean < both[0].entry.kl_mean


def test_nothing_is_left(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(comparison.tempfile, "tempdir", str(scratch))
    path = recipe(tmp_path, "fine.yaml", FINE)
    compare_recipes(checkpoint, [path], options())
    assert os.listdir(scratch) == []
    scratch.rmdir()
    with pytest.raises(ExportError, match="TMPDIR"):
        compare_recipes(checkpoint, [path], options())
    with pytest.raises(ConfigError):
        compare_recipes(checkpoint, [tmp_path / "none.yaml"], options())


def test_fewer_tokens_are_measured(checkpoint: Path, tmp_path: Path) -> None:
    asked = dataclasses.replace(options(), tokens=40)
    (report,) = compare_recipes(checkpoint, [recipe(tmp_path, "fine.yaml", FINE)], asked)
    assert report.entry.tokens == 40


@pytest.mark.parametrize("text", [FINE, TWO_SETS], ids=["plain", "calibrated"])
def test_a_bar_needs_a_text(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """That is said before anything is read."""
    monkeypatch.delattr(comparison, "collect")
    asked = dataclasses.replace(options(), max_ppl_increase=1.0)
    with pytest.raises(ConfigError, match="needs a text"):
        compare_recipes(checkpoint, [recipe(tmp_path, "r.yaml", text)], asked)


def test_a_calibration_text_that_no_recipe_uses(
    checkpoint: Path, tmp_path: Path, small_recipe
) -> None:
    recipes = [recipe(tmp_path, "fine.yaml", FINE), small_recipe(name="ascend.cfg")]
    asked = dataclasses.replace(options(), calibration=tmp_path / "my.txt")
    with pytest.raises(ConfigError, match="None of these recipes uses a calibration text"):
        compare_recipes(checkpoint, recipes, asked)
