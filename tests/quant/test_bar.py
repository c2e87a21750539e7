"""The bar: every set of weights and every recipe is held against it, not the first alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from glmlite.cli.quantize import quantize
from glmlite.errors import AccuracyError
from glmlite.quant.comparison import compare_recipes
from glmlite.quant.cpu_job import CpuJob
from glmlite.quant.cpu_pipeline import run_cpu
from glmlite.quant.job import QuantizeOptions
from tests.cli.conftest import write_bundle
from tests.quant.demo_answers import Answers, WithOutliers

GOOD = "{scheme: block, bits: 8, block_size: 32, method: round}"
BAD = "{scheme: column, bits: 7, method: round, smoothing: false}"
BAR = 1.0


@pytest.fixture(scope="module")
def spiky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's model with channels that W8A8 cannot bear unless it smooths them."""
    source = write_bundle(tmp_path_factory.mktemp("bar") / "spiky")
    weights = WithOutliers(Answers(200), 200)
    index = json.loads((source / "weights" / "index.json").read_text())
    with (source / "weights" / index["file"]).open("r+b") as file:
        for name, entry in index["tensors"].items():
            file.seek(entry["offset"])
            file.write(weights.read(name).astype(entry["dtype"]).tobytes())
    return source


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return _recipe(tmp_path / "good.yaml", GOOD)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return _recipe(tmp_path / "bad.yaml", BAD)


@pytest.fixture
def options(short_text: Path) -> QuantizeOptions:
    return QuantizeOptions(text=short_text, tokens=120, max_ppl_increase=BAR, parity=False)


def _recipe(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_weights_of_prefill_are_held_against_it(
    spiky: Path, tmp_path: Path, good: Path, options: QuantizeOptions
) -> None:
    """Those that decode hold it, and they alone would be written."""
    pytest.importorskip("onnx")
    two = _recipe(tmp_path / "two.yaml", f"{GOOD[:-1]}, prefill: {BAD}}}")
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(AccuracyError, match="rises from"):
        run_cpu(CpuJob.open(spiky, two, options), place / "out")
    assert list(place.iterdir()) == []
    for recipe, asked in (
        (good, options),
        (two, dataclasses.replace(options, max_ppl_increase=1e6)),
    ):
        made = run_cpu(CpuJob.open(spiky, recipe, asked), place / recipe.stem)
        increase = [
            100 * (r.entry.perplexity / r.entry.perplexity_before - 1) for r in made.accuracy
        ]
        assert [i > BAR for i in increase] == [False, True][: len(increase)]


def _compared(source: Path, text: Path, *recipes: Path, more: tuple[str, ...] = ()) -> Any:
    named = [argument for recipe in recipes for argument in ("--recipe", recipe)]
    arguments = (
        source, *named, "--accuracy-only", "--text", text, "--tokens", 120,
        "--max-ppl-increase", BAR, *more,
    )  # fmt: skip
    return CliRunner().invoke(quantize, [str(argument) for argument in arguments])


def test_each_compared_recipe_is_held_against_it(
    spiky: Path, good: Path, bad: Path, short_text: Path
) -> None:
    """What was measured is shown all the same."""
    alone = _compared(spiky, short_text, good)
    assert alone.exit_code == 0, alone.output
    for recipes in ((bad,), (good, bad), (bad, good)):
        result = _compared(spiky, short_text, *recipes, more=("--json",))
        assert isinstance(result.exception, AccuracyError), result.output
        assert "rises from" in str(result.exception)
        said = json.loads(result.stdout)
        found = said["recipes"] if len(recipes) > 1 else [said]
        assert all(entry["accuracy"]["tokens"] > 100 for entry in found)
        assert len(found) == len(recipes)


def test_what_is_compared_is_what_would_be_made(
    spiky: Path, tmp_path: Path, short_text: Path, options: QuantizeOptions
) -> None:
    """With a text to calibrate on, all of the other one is measured on."""
    smooth = _recipe(tmp_path / "smooth.yaml", BAD.replace("false", "true"))
    for asked in (
        dataclasses.replace(options, text=None, calibration=short_text),
        dataclasses.replace(options, text=None),
    ):
        (compared,) = compare_recipes(spiky, [smooth], asked)
        measured, _calibration = CpuJob.open(spiky, smooth, asked).samples()
        assert compared.entry.tokens == sum(len(places) for places in measured.predicted())
