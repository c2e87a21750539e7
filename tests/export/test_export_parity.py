"""Parity is part of every export: what is recorded, and what happens when it fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glmlite.bundle import Bundle
from glmlite.errors import ParityError
from glmlite.exporter import parity
from glmlite.exporter.pipeline import run_export
from tests.engines import test_batch
from tests.engines.bundles import Bundles

pytestmark = pytest.mark.mindspore


def test_every_graph_on_every_engine(bundles: Bundles) -> None:
    """Ten consecutive decode steps at least, on the very files of the bundle."""
    manifest = Bundle.open(bundles.export("prefix", **test_batch.EXPORT)).manifest
    assert {entry.graph for entry in manifest.parity} == {g.file for g in manifest.graphs}
    engines = {entry.engine for entry in manifest.parity}
    if bundles.toolchain:
        assert engines == {"mindspore 2.0.0", "lite 2.0.0"}
        assert manifest.producer["mindspore"] == "2.0.0"
        assert {g.mindir_version for g in manifest.graphs} == {1}
    assert len(manifest.parity) == len(engines) * len(manifest.graphs)
    decode = {g.file for g in manifest.graphs if g.phase == "decode"}
    for entry in manifest.parity:
        assert entry.steps >= (10 if entry.graph in decode else 2)
        assert 0 < entry.max_abs < 2e-3
        assert entry.cosine > 0.99999
        assert entry.top1 == 1.0
        assert entry.layers == manifest.model.num_layers


def test_a_failure_keeps_nothing(
    bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tolerance that no float32 graph can keep, the real difference is too large."""
    strict = parity.Tolerance(max_abs=1e-12, top1=0.0, tie=0.0)
    monkeypatch.setitem(parity.TOLERANCES, "float32", strict)
    output = tmp_path / "out" / "bundle"
    recipe = bundles.recipe("glm2", output, export__prefill_tokens=[1], export__parity="full")
    with pytest.raises(ParityError) as caught:
        run_export(recipe)
    message = str(caught.value)
    assert ".mindir" in message
    assert "mindspore" in message
    assert "step" in message
    assert list(output.parent.iterdir()) == []


def test_parity_of_some_layers(bundles: Bundles) -> None:
    """Graphs of two layers are proven and dropped; the bundle's own have all three."""
    changes = {"export__parity": "layers:2", "export__prefill_tokens": [1]}
    bundle = Bundle.open(bundles.export("glm3", where="here", **changes))
    assert bundle.manifest.model.num_layers == 3
    assert {entry.layers for entry in bundle.manifest.parity} == {2}
    assert {g.file for g in bundle.manifest.graphs} <= set(bundle.manifest.files)
    assert not [name for name in bundle.manifest.files if name.startswith(".")]
    assert not list(bundle.path.rglob(".*"))


def test_parity_off(bundles: Bundles) -> None:
    assert Bundle.open(bundles.export("glm3")).manifest.parity == ()


def test_the_toolchain_named_by_the_environment(
    bundles: Bundles, toolchain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLMLITE_TOOLCHAIN", toolchain)
    recipe = bundles.recipe("glm2", tmp_path / "bundle", export__prefill_tokens=[1])
    report = run_export(recipe)
    assert report.manifest.producer["mindspore"] == "2.0.0"


def test_other_top_tokens_fail_although_every_logit_is_close() -> None:
    expected = np.zeros((100, 8), np.float32)
    expected[:, 0], expected[:, 1] = 1.0, 0.97
    logits = expected.copy()
    logits[:2, 1] += 0.04  # two rows of a hundred now prefer another token
    difference = parity.Difference()
    tolerance = parity.TOLERANCES["float16"]
    difference.add(logits, expected, tolerance.tie)
    assert difference.max_abs < tolerance.max_abs
    assert difference.top1 == pytest.approx(0.98)
    with pytest.raises(ParityError, match="top-1"):
        parity.check("g", "e", difference, tolerance)
    difference = parity.Difference()
    difference.add(logits, expected, tie=0.05)  # the reference itself does not decide these
    assert difference.top1 == pytest.approx(0.98)
    parity.check("g", "e", difference, tolerance)
