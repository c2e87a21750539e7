"""Graphs are exported without weights: they are what MindSpore's own export of everything is."""

from __future__ import annotations

import sys

import pytest

from glmlite.bundle import Bundle
from tests.engines.bundles import Bundles
from tests.engines.test_half import EXPORT as HALF
from tests.toolchain.elsewhere import run_elsewhere

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize(
    ("name", "where"),
    [
        pytest.param("glm2", "here", marks=pytest.mark.mindspore),
        pytest.param("fp16_shards", "toolchain", marks=pytest.mark.lite),
    ],
)
def test_the_same_graph_and_the_same_bytes(bundles: Bundles, name: str, where: str) -> None:
    path = bundles.export(name, where=where, **(HALF if name == "fp16_shards" else {}))
    python = str(bundles.toolchain if where == "toolchain" else sys.executable)
    graph = next(g for g in Bundle.open(path).manifest.graphs if g.tokens == 7)
    found = run_elsewhere(python, "whole_export", str(path), graph.file)
    assert found["differences"] == []
    assert found["nodes"] > 100
