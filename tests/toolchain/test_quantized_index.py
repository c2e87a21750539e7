"""What the index says of quantized matrices must be what the data file holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glmlite.bundle.weights import BundleWeights
from glmlite.errors import BundleError
from glmlite.exporter.weights import WeightsFile
from glmlite.quant.packing import store_blocks, store_columns, store_rows
from glmlite.toolchain.weights import WeightsIndex

RNG = np.random.default_rng(0)
SMOOTHING = np.array([2.0, 0.5] * 8, np.float32)
NORM = RNG.normal(1, 0.1, 16).astype(np.float32)
MATRIX = RNG.normal(0, 1, (12, 16)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A norm, a smoothed matrix in two forms, and a table."""
    path = tmp_path / "weights"
    fold = {"folded_into": "norm", "rows": [0, 16]}
    with WeightsFile(path) as file:
        file.add("norm", NORM / SMOOTHING)
        for name, stored in (
            ("a", store_blocks(MATRIX, 8, 16, symmetric=False, smoothing=SMOOTHING)),
            ("prefill/a", store_columns(MATRIX, 8, outliers=[1, 4])),
            ("table", store_rows(MATRIX)),
        ):
            form = {**stored.form, **(fold if name == "a" else {})}
            tensors = {**stored.tensors, **({".smoothing": SMOOTHING} if name == "a" else {})}
            file.add_quantized(name, form, tensors)
    return path


def test_parameters_are_read_as_they_were(folder: Path) -> None:
    weights = BundleWeights(folder / "index.json")
    assert dict(weights.shapes()) == {"norm": (16,), "a": (12, 16), "table": (12, 16)}
    np.testing.assert_allclose(weights.read("norm"), NORM, rtol=1e-6)
    for name in ("a", "table"):
        assert 0 < np.abs(weights.read(name) - MATRIX).max() < 0.05
    other = BundleWeights(folder / "index.json", "prefill/")
    assert other.form("a")["scheme"] == "column"
    assert (other.read("a")[:, [1, 4]] == MATRIX[:, [1, 4]]).all()
    assert (other.read("table") == weights.read("table")).all()
    assert other.shapes() == weights.shapes()


def drop(name: str) -> Callable[[Any], Any]:
    return lambda i: i["tensors"].pop(name)


def form(name: str, **changes: Any) -> Callable[[Any], Any]:
    return lambda i: i["quantized"][name].update(changes)


@pytest.mark.parametrize(
    "change",
    [
        drop("a.packed"),
        drop("a.scale"),
        drop("a.zero_point"),
        drop("a.smoothing"),
        drop("norm"),
        drop("prefill/a.outlier"),
        drop("table.rows"),
        form("a", bits=4),
        form("a", bits=True),
        form("a", bits=2),
        form("a", scheme="other"),
        form("a", scheme=["block"]),
        form("a", block_size=32),
        form("a", block_size=8),
        form("a", symmetric=1),
        form("a", accuracy_level=5),
        form("a", accuracy_level="4"),
        form("a", surprise=1),
        form("a", shape=[12, 17]),
        form("a", shape=[12]),
        form("a", shape=[12.0, 16]),
        form("a", shape=[-12, -16]),
        form("a", shape="12"),
        form("a", folded_into="nothing"),
        form("a", folded_into=None),
        form("a", rows=[0, 15]),
        form("a", rows=[1, 17]),
        form("a", rows=[0]),
        form("a", rows=None),
        form("prefill/a", outliers=[4, 1]),
        form("prefill/a", outliers=[1, 1]),
        form("prefill/a", outliers=[1, 16]),
        form("prefill/a", outliers=[-1, 4]),
        form("prefill/a", outliers=1),
        form("prefill/a", bits=7),
        form("table", bits=4),
        lambda i: i["quantized"].update(a=[]),
        lambda i: i["quantized"].update(a=None),
        lambda i: i.update(quantized=[]),
        lambda i: i.update(quantized=3),
        lambda i: i["quantized"].pop("table"),
        lambda i: i["quantized"].update(norm=i["quantized"]["a"]),
        lambda i: i["tensors"]["a.packed"].update(dtype="int8"),
        lambda i: i["tensors"]["table.scale"].update(shape=[3, 4]),
    ],
)
def test_what_does_not_hold_is_refused(folder: Path, change: Callable[[Any], Any]) -> None:
    path = folder / "index.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(BundleError, match="not usable"):
        BundleWeights(path)


def test_the_text_is_what_was_read(folder: Path) -> None:
    index = WeightsIndex.read(str(folder / "index.json"))
    assert json.loads(index.to_json()) == json.loads((folder / "index.json").read_text())
    assert index.find("a", "prefill/") == "prefill/a"
    assert index.find("norm", "prefill/") == "norm"
