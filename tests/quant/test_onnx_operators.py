"""Products and lookups over quantized weights in ONNX Runtime, against the dequantized weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glmlite.bundle.weights import BundleWeights
from glmlite.errors import ExportError
from glmlite.exporter.weights import WeightsFile
from glmlite.quant.activations import round_blocks, round_tokens
from glmlite.quant.packing import Stored, store_blocks, store_columns, store_rows

ort = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

from glmlite.exporter.onnx_graph.builder import GraphBuilder  # noqa: E402
from glmlite.exporter.onnx_graph.linear import Products, embedding, linear  # noqa: E402

OUT, IN = 48, 96
RNG = np.random.default_rng(5)
WEIGHT = RNG.standard_t(4, (OUT, IN)).astype(np.float32)
BIAS = RNG.normal(size=OUT).astype(np.float32)
# Extremes: all of a sign, nothing but zeros, tiny, huge, one outlier.
TOKENS = RNG.normal(size=(9, IN)).astype(np.float32)
TOKENS[1], TOKENS[2], TOKENS[3] = 1, 0, TOKENS[3] * np.float32(1e-12)
TOKENS[4] *= np.float32(1e12)
TOKENS[5, 7] = 300
TOKENS[6] = -2.5


def run(folder: Path, stored: Stored, bias: bool = False, prefix: str = "") -> Any:
    """A function that multiplies by, or looks up in, one stored weight; and the weight."""
    with WeightsFile(folder / "weights") as file:
        file.add_quantized(prefix + "w", stored.form, stored.tensors)
        file.add("b", BIAS)
    graph = GraphBuilder(file.index, 17, prefix)
    products = Products("ort", 4)
    if stored.form["scheme"] == "row":
        x = graph.input("x", ("batch", "tokens"))
        y = embedding(graph, products, x, "w", "/embedding")
    else:
        x = graph.input("x", ("batch", "tokens", IN), np.float32)
        y = linear(graph, products, x, "w", "/linear", "b" if bias else None)
    graph.output("y", y)
    graph.save(folder / "g.onnx", "g", 8, {})
    onnx.checker.check_model(str(folder / "g.onnx"))
    session = ort.InferenceSession(str(folder / "g.onnx"), providers=["CPUExecutionProvider"])
    weights = BundleWeights(folder / "weights" / "index.json", prefix)
    return lambda x: session.run(None, {"x": x})[0], weights.read("w")


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest error of a row, in units of the row's norm."""
    error = np.linalg.norm(found - expected, axis=-1)
    return float((error / np.maximum(np.linalg.norm(expected, axis=-1), 1e-30)).max())


FORMS = {
    "int4": lambda: store_blocks(WEIGHT, 4, 32, method="mse"),
    "int4 asymmetric": lambda: store_blocks(WEIGHT, 4, 64, symmetric=False),
    "int8": lambda: store_blocks(WEIGHT, 8, 16),
    "columns 7": lambda: store_columns(WEIGHT, 7),
    "columns 8": lambda: store_columns(WEIGHT, 8),
    "columns with outliers": lambda: store_columns(WEIGHT, 7, outliers=[7, 11]),
}


@pytest.mark.parametrize("prefix", ["", "prefill/"])
@pytest.mark.parametrize("name", FORMS)
def test_products(tmp_path: Path, name: str, prefix: str) -> None:
    stored = FORMS[name]()
    multiply, weight = run(tmp_path, stored, prefix=prefix)
    if stored.form["scheme"] == "block":
        x = round_blocks(TOKENS, stored.form["block_size"])
    else:
        kept = stored.form.get("outliers", [])
        x = TOKENS.copy()
        x[:, kept] = 0
        x = round_tokens(x)
        x[:, kept] = TOKENS[:, kept]
    found = multiply(TOKENS[None])[0]
    assert relative(found, x @ weight.T) < 1e-5
    exact = TOKENS.astype(np.float64) @ WEIGHT.T.astype(np.float64)
    assert relative(found[:1], exact[:1]) < (0.15 if "int4" in name else 0.05)
    (tmp_path / "biased").mkdir()
    biased, _ = run(tmp_path / "biased", stored, bias=True, prefix=prefix)
    np.testing.assert_allclose(biased(TOKENS[None, :1])[0], found[:1] + BIAS, atol=1e-4)


@pytest.mark.parametrize("name", ["columns 7", "columns 8", "columns with outliers"])
def test_a_token_does_not_see_its_neighbours(tmp_path: Path, name: str) -> None:
    multiply, _ = run(tmp_path, FORMS[name]())
    whole = multiply(TOKENS[None])
    for size in (1, 2, 4):
        for start in range(0, len(TOKENS), size):
            part = multiply(TOKENS[None, start : start + size])
            assert (part[0] == whole[0, start : start + size]).all()
    batch = multiply(TOKENS[:8].reshape(2, 4, IN))
    assert (batch.reshape(8, OUT) == whole[0, :8]).all()


@pytest.mark.parametrize("name", ["columns 7", "columns 8"])
def test_extremes_do_not_saturate(tmp_path: Path, name: str) -> None:
    """All weights and all activations at the ends of their ranges: every pair sum is largest."""
    weight = np.where(np.arange(OUT)[:, None] % 2, 3.0, -3.0).astype(np.float32)
    weight = np.broadcast_to(weight, (OUT, IN)).copy()
    multiply, found = run(tmp_path, store_columns(weight, int(name[-1])))
    assert np.abs(found - weight).max() < 1e-6
    x = np.stack([np.full(IN, 2.0), np.full(IN, -2.0)]).astype(np.float32)
    np.testing.assert_allclose(multiply(x[None])[0], x @ weight.T, rtol=1e-5)


def test_lookup(tmp_path: Path) -> None:
    lookup, table = run(tmp_path, store_rows(WEIGHT))
    ids = np.array([[0, 47, 3], [3, 3, 46]], np.int32)
    np.testing.assert_allclose(lookup(ids), table[ids], rtol=1e-6)
    assert np.abs(table - WEIGHT).max() <= np.abs(WEIGHT).max() / 254 * 1.001


def test_a_table_is_no_matrix(tmp_path: Path) -> None:
    for stored, kind in ((store_rows(WEIGHT), linear), (store_columns(WEIGHT), embedding)):
        folder = tmp_path / stored.form["scheme"]
        folder.mkdir()
        with WeightsFile(folder / "weights") as file:
            file.add_quantized("w", stored.form, stored.tensors)
        graph = GraphBuilder(file.index, 17)
        x = graph.input("x", ("batch", "tokens", IN), np.float32)
        with pytest.raises(ExportError, match="stored as a"):
            kind(graph, Products("ort", 4), x, "w", "/x")
