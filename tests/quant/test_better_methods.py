"""Methods that cost more than rounding to nearest must be worth it: perplexity of known answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glmlite.quant.calibration import ActivationStats
from glmlite.quant.smoothing import find_outliers, smooth_blocks, smooth_columns
from tests.quant.demo_answers import Answers, WithOutliers

HEAD = {
    "transformer.output_layer.weight": {
        "scheme": "block",
        "bits": 8,
        "method": "activation_aware",
    }
}


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers(every=20)


def test_searched_int4_scales_keep_more_of_the_model(answers: Answers, tmp_path: Path) -> None:
    exact, before = answers.run(answers.checkpoint), answers.read(answers.checkpoint)
    lost, divergence = {}, {}
    for method in ("round", "mse", "activation_aware"):
        recipe = {"scheme": "block", "bits": 4, "method": method, "tensors": HEAD}
        made = answers.quantized(tmp_path / method, answers.checkpoint, recipe)
        found = answers.run(*made)
        assert (found.ids == answers.right).mean() >= 0.95
        lost[method] = found.perplexity - exact.perplexity
        after = answers.read(*made)
        divergence[method] = (np.exp(before) * (before - after)).sum(axis=1).mean()
    assert 0 < lost["mse"] < lost["round"]
    assert 0 < lost["activation_aware"] < lost["round"]
    assert divergence["activation_aware"] < divergence["mse"] < divergence["round"]


def test_outliers_change_nothing_by_themselves(answers: Answers) -> None:
    plain, spiky = answers.run(answers.checkpoint), answers.run(WithOutliers(answers, 200))
    assert (plain.ids == spiky.ids).all()
    assert spiky.perplexity == pytest.approx(plain.perplexity, abs=1e-5)


def test_int4_with_outliers(answers: Answers, tmp_path: Path) -> None:
    """Scaling what carries much is what saves int4 where channels differ."""
    source = WithOutliers(answers, 30)

    def run(method: str) -> float:
        recipe = {"scheme": "block", "bits": 4, "method": method, "tensors": HEAD}
        return answers.run(*answers.quantized(tmp_path / method, source, recipe)).perplexity

    plain, aware = run("round"), run("activation_aware")
    assert aware - 1 < 0.5 * (plain - 1)


def test_w8a8_with_outliers(answers: Answers, tmp_path: Path) -> None:
    """One scale a token: a channel 200 times the others leaves nothing of them."""
    source = WithOutliers(answers, 200)

    def run(name: str, **options: object) -> float:
        recipe = {"scheme": "column", **options, "tensors": HEAD}
        return answers.run(*answers.quantized(tmp_path / name, source, recipe)).perplexity

    plain = run("plain", smoothing=False)
    smooth = run("smooth", smoothing=True)
    kept = run("kept", smoothing=False, outliers=12)
    assert smooth - 1 < 0.05 * (plain - 1)
    assert kept - 1 < 0.2 * (plain - 1)
    assert smooth < 1.002


def stats(absmax: np.ndarray) -> ActivationStats:
    square = np.square(absmax) / 9
    return ActivationStats(absmax, square.astype(np.float32), -1.0, 1.0, 10)


def test_smoothing_of_matrices() -> None:
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(64, 128)).astype(np.float32)
    flat = np.ones(128, np.float32)
    spiky = flat.copy()
    spiky[[3, 77]] = 100
    found = smooth_columns(weight, stats(spiky), 7)
    assert found is not None
    # What is divided by it becomes smaller in the channels that are large.
    assert found[[3, 77]].min() > 4 * np.delete(found, [3, 77]).max()
    found = smooth_blocks(weight, stats(spiky), 4, 32, True)
    assert found is not None
    assert found[[3, 77]].min() > np.delete(found, [3, 77]).max()
    assert smooth_blocks(weight, stats(flat), 4, 32, True) is None
    nothing = np.zeros(128, np.float32)
    assert smooth_blocks(weight, stats(nothing), 4, 32, True) is None
    assert smooth_columns(weight, stats(nothing), 7) is None
    assert smooth_columns(np.zeros_like(weight), stats(spiky), 7) is None
    assert find_outliers(stats(spiky), None, 2) == [3, 77]
    assert len(find_outliers(stats(spiky), spiky, 500)) == 127
