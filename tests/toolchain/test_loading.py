"""All graphs of a bundle compute with one copy of the weights: the pages of its weights file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

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
def test_graphs_share_the_mapped_weights(bundles: Bundles, name: str, where: str) -> None:
    if not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc")
    changes: dict[str, Any] = HALF if name == "fp16_shards" else {}
    path = bundles.export(name, where=where, **changes)
    python = bundles.toolchain if where == "toolchain" else sys.executable
    found = run_elsewhere(str(python), "weights_in_memory", str(path))
    index = json.loads((path / "weights" / "index.json").read_text())["tensors"]
    graphs = len(json.loads((path / "manifest.json").read_text())["graphs"])
    assert graphs == 3
    data = str((path / "weights" / "data_0").resolve())
    for parameter, entry in index.items():
        assert found[parameter] == [[data, entry["offset"], True]] * graphs, parameter
