"""Quantized forms: against ONNX Runtime's own operators, and against arithmetic by hand."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pytest

from glmlite.errors import CheckpointError
from glmlite.quant.packing import (
    pack,
    read_stored,
    store_blocks,
    store_columns,
    store_rows,
    unpack,
)
from glmlite.toolchain.quantized import check_quantized


def normal(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(1).standard_t(5, shape).astype(dtype)


def by_hand(form: dict[str, Any], tensors: dict[str, np.ndarray]) -> np.ndarray:
    """A block matrix one value at a time, as the operator's documentation says."""
    out, columns = form["shape"]
    bits, size = form["bits"], form["block_size"]
    result = np.empty((out, columns))

    def number(data: np.ndarray, at: int) -> int:
        return int(data[at]) if bits == 8 else int(data[at // 2]) >> (4 * (at % 2)) & 15

    for n in range(out):
        for k in range(columns):
            block = k // size
            zero = 2 ** (bits - 1)
            if not form["symmetric"]:
                zero = number(tensors[".zero_point"][n], block)
            q = number(tensors[".packed"][n, block], k % size)
            result[n, k] = (q - zero) * float(tensors[".scale"][n, block])
    return result


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("columns", "block_size"), [(64, 16), (80, 32), (160, 128), (48, 256)])
def test_blocks_are_what_onnx_runtime_reads(
    bits: int, symmetric: bool, columns: int, block_size: int
) -> None:
    """MatMulNBits over an identity matrix gives the weight back."""
    ort, onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx")
    stored = store_blocks(normal((24, columns)), bits, block_size, symmetric=symmetric)
    check_quantized({"w": stored.form}, described(stored))
    expected = by_hand(stored.form, stored.tensors)
    np.testing.assert_allclose(read_stored(stored.form, stored.tensors), expected, rtol=1e-6)

    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    names = [n for n in (".packed", ".scale", ".zero_point") if n in stored.tensors]
    node = helper.make_node(
        "MatMulNBits",
        ["x", *names],
        ["y"],
        domain="com.microsoft",
        K=columns,
        N=24,
        bits=bits,
        block_size=block_size,
        accuracy_level=0,
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", floats, [None, columns])],
        [helper.make_tensor_value_info("y", floats, [None, 24])],
        [onnx.numpy_helper.from_array(stored.tensors[n], n) for n in names],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.eye(columns, dtype=np.float32)})
    np.testing.assert_allclose(found.T, expected, rtol=1e-5, atol=1e-6)


def described(stored: Any, name: str = "w") -> dict[str, dict[str, Any]]:
    return {
        name + suffix: {"dtype": array.dtype.name, "shape": list(array.shape)}
        for suffix, array in stored.tensors.items()
    }


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_error_is_at_most_a_step(bits: int, symmetric: bool, dtype: str) -> None:
    weight = normal((40, 96), dtype)
    stored = store_blocks(weight, bits, 32, symmetric=symmetric)
    error = np.abs(read_stored(stored.form, stored.tensors) - weight.astype(np.float64))
    step = np.repeat(np.abs(stored.tensors[".scale"]), 32, axis=1)
    assert (error <= step * (1 + 1e-5)).all()
    assert np.median(error / step) < 0.3


def errors(weight: np.ndarray, importance: np.ndarray, **options: Any) -> tuple[float, float]:
    """Squared error and squared error weighted by importance."""
    stored = store_blocks(weight, **options, importance=importance)
    square = (read_stored(stored.form, stored.tensors) - weight.astype(np.float64)) ** 2
    return float(square.sum()), float((square * importance).sum())


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("bits", "most"), [(4, 0.95), (8, 1.0)])
def test_searched_scales_win(bits: int, most: float, symmetric: bool) -> None:
    weight = normal((64, 256))
    importance = np.exp(np.random.default_rng(2).normal(0, 1.5, 256)).astype(np.float32)

    def run(method: str) -> tuple[float, float]:
        options = {"bits": bits, "block_size": 64, "symmetric": symmetric, "method": method}
        return errors(weight, importance, **options)

    plain, searched, aware = run("round"), run("mse"), run("activation_aware")
    assert searched[0] < most * plain[0]
    assert aware[1] < most * searched[1]
    assert searched[1] < plain[1]


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_search_never_loses_in_any_block(symmetric: bool) -> None:
    weight = np.concatenate([normal((50, 64)), np.random.default_rng(3).integers(-8, 8, (50, 64))])
    plain = store_blocks(weight, 4, 16, symmetric=symmetric)
    searched = store_blocks(weight, 4, 16, symmetric=symmetric, method="mse")

    def of_blocks(stored: Any) -> np.ndarray:
        square = (read_stored(stored.form, stored.tensors) - weight) ** 2
        return square.reshape(100, 4, 16).sum(axis=2)

    assert (of_blocks(searched) <= of_blocks(plain) * (1 + 1e-4) + 1e-12).all()


@pytest.mark.parametrize("method", ["round", "mse", "activation_aware"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_zero_and_constant_blocks(bits: int, symmetric: bool, method: Any) -> None:
    weight = np.zeros((6, 64), np.float32)
    weight[1], weight[2], weight[3] = 2.5, -1e-3, 1e17
    weight[4, :32], weight[5] = 7, 1e-44
    stored = store_blocks(
        weight, bits, 32, symmetric=symmetric, method=method, importance=np.ones(64, np.float32)
    )
    found = read_stored(stored.form, stored.tensors)
    assert (found[0] == 0).all()
    assert (found[4, 32:] == 0).all()
    assert (found[5] == 0).all()
    np.testing.assert_allclose(found[:5], weight[:5], rtol=1e-6)


@pytest.mark.parametrize("method", ["round", "mse"])
def test_an_outlier_costs_its_own_block_only(method: Any) -> None:
    weight = normal((4, 64))
    before = store_blocks(weight, 4, 16, method=method)
    weight[2, 5] = 1e17
    after = store_blocks(weight, 4, 16, method=method)
    one, other = (read_stored(s.form, s.tensors) for s in (before, after))
    assert np.isfinite(other).all()
    assert abs(other[2, 5] / 1e17 - 1) < 0.07
    other[2, :16] = one[2, :16]
    assert (one == other).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("store", [store_rows, store_columns, lambda w: store_blocks(w, 4, 16)])
def test_what_is_not_finite_is_refused(store: Any, bad: float) -> None:
    weight = normal((300, 1024))
    weight[250, 3] = bad
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        store(weight)


@pytest.mark.parametrize("method", ["round", "mse", "activation_aware"])
def test_what_would_overflow_is_refused(method: Any) -> None:
    """Steps of a range near float32's end do not multiply back; and nothing is said beside."""
    weight = normal((3, 64))
    weight[1, ::2], weight[1, 1::2] = 3.4e38, -3.4e38
    options = {"method": method, "importance": np.ones(64, np.float32), "name": "w"}
    for smoothing in (None, np.full(64, 1e3, np.float32)):
        for store in (functools.partial(store_blocks, bits=4, block_size=16), store_columns):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                with pytest.raises(CheckpointError, match=r"Tensor w holds the value 3\.4e\+38"):
                    store(weight, smoothing=smoothing, **options)
    factors = np.full(64, 1e38, np.float32)
    with pytest.raises(CheckpointError, match="Tensor w overflows as its columns are smoothed"):
        store_blocks(normal((3, 64)), 4, 16, smoothing=factors, name="w")


@pytest.mark.parametrize(("bits", "dtype", "highest"), [(7, "int8", 64), (8, "uint8", 127)])
def test_columns(bits: int, dtype: str, highest: int) -> None:
    weight = normal((30, 50))
    outliers = [3, 48]
    stored = store_columns(weight, bits, outliers=outliers)
    check_quantized({"w": stored.form}, described(stored))
    integers = stored.tensors[".column"]
    assert integers.dtype == dtype
    assert integers.shape == (50, 30)
    values = integers.astype(int) - (128 if bits == 8 else 0)
    # Two products with the largest activation must fit into 16 bits where int8 is used.
    assert np.abs(values).max() == highest
    assert bits == 8 or 2 * 255 * highest < 2**15
    found = read_stored(stored.form, stored.tensors)
    assert (found[:, outliers] == weight[:, outliers]).all()
    rest = [i for i in range(50) if i not in outliers]
    np.testing.assert_allclose(
        found[:, rest], values.T[:, rest] * stored.tensors[".scale"].astype(float)[:, None], 1e-6
    )
    step = np.abs(weight[:, rest]).max(axis=1) / highest
    assert (np.abs(found - weight) <= step[:, None] * (0.5 + 1e-4)).all()


def test_columns_with_smoothing_and_rows() -> None:
    weight = normal((30, 50), "float16")
    smoothing = np.exp(np.random.default_rng(4).normal(size=50)).astype(np.float32)
    stored = store_columns(weight, 8, smoothing=smoothing)
    found = read_stored(stored.form, stored.tensors)
    assert np.abs(found - weight * smoothing).max() < np.abs(weight * smoothing).max() / 200
    stored = store_rows(weight)
    found = read_stored(stored.form, stored.tensors)
    step = np.abs(weight.astype(float)).max(axis=1, keepdims=True) / 127
    assert (np.abs(found - weight) <= step * (0.5 + 1e-4)).all()


def test_packing_of_an_odd_number() -> None:
    values = np.array([[1, 15, 7]])
    packed = pack(values, 4)
    assert packed.tolist() == [[0xF1, 0x07]]
    assert unpack(packed, 4).tolist() == [[1, 15, 7, 0]]


def test_many_rows_go_through_in_pieces() -> None:
    weight = normal((700, 512))
    stored = store_blocks(weight, 4, 128)
    whole = read_stored(stored.form, stored.tensors)
    for row in (0, 255, 256, 699):
        one = store_blocks(weight[row : row + 1], 4, 128)
        assert (read_stored(one.form, one.tensors) == whole[row]).all()
