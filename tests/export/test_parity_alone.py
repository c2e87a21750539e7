"""Large graphs are proved on Lite one by one, each in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from glmlite.bundle import Bundle
from glmlite.errors import ParityError
from glmlite.exporter import mindir_backend
from glmlite.exporter.pipeline import run_export
from glmlite.runtime.engines.graphs import GraphSet
from tests.engines.bundles import Bundles

pytestmark = [pytest.mark.lite, pytest.mark.timeout(180)]

CHANGES = {
    "export__parity": "layers:1",
    "export__prefill_tokens": [7],
}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Engines that were opened, with their graphs; every model counts as large."""
    monkeypatch.setattr(mindir_backend, "ALONE_BYTES", 0)
    found = []
    real = GraphSet.open

    def open_graphs(self: GraphSet, engine: str, *arguments: object) -> object:
        found.append((engine, [graph.phase for graph in self.graphs]))
        return real(self, engine, *arguments)

    monkeypatch.setattr(GraphSet, "open", open_graphs)
    return found


def test_every_graph_is_proved(
    bundles: Bundles, tmp_path: Path, toolchain: str, opened: list[tuple[str, list[str]]]
) -> None:
    recipe = bundles.recipe("glm2", tmp_path / "bundle", export__score_tokens=5, **CHANGES)
    path = run_export(recipe, toolchain=toolchain).path
    assert opened == [
        ("mindspore", ["prefill", "decode", "score"]),
        ("lite", ["prefill"]),
        ("lite", ["decode"]),
        ("lite", ["score"]),
    ]
    manifest = Bundle.open(path).manifest
    proved = {(entry.graph, entry.engine.split()[0]) for entry in manifest.parity}
    assert proved == {(g.file, engine) for g in manifest.graphs for engine in ("mindspore", "lite")}
    assert all(entry.layers == 1 and entry.steps > 0 for entry in manifest.parity)
    assert not list(path.glob(".*"))


def test_a_graph_that_differs_is_found(
    bundles: Bundles,
    tmp_path: Path,
    toolchain: str,
    opened: list[tuple[str, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = mindir_backend.compare_graphs

    def compare(engine, graphs, sequences, expected, *rest):
        wrong = expected if graphs[0].phase != "decode" else [e + 0.1 for e in expected]
        return real(engine, graphs, sequences, wrong, *rest)

    monkeypatch.setattr(mindir_backend, "compare_graphs", compare)
    recipe = bundles.recipe("glm2", tmp_path / "bundle", **CHANGES)
    with pytest.raises(ParityError, match=r"decode_t1_s96_b1\.mindir on lite"):
        run_export(recipe, toolchain=toolchain)
    assert list(tmp_path.iterdir()) == []
