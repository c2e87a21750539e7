"""Rounded activations, against ONNX Runtime's own operators."""

from __future__ import annotations

import numpy as np
import pytest

from glmlite.quant.activations import (
    Rounding,
    in_words,
    round_blocks,
    round_tokens,
    rounder,
    rounding_of,
)

K, N = 512, 24


def rows(count: int) -> np.ndarray:
    """Rows with one channel far above the others."""
    x = np.random.default_rng(count).normal(size=(count, K)).astype(np.float32)
    x[:, 5] *= 20
    return x


def session(nodes, inputs, outputs, initializers):
    onnx = pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(*args, **rest) for args, rest in nodes],
        "g",
        [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in inputs],
        [onnx.helper.make_tensor_value_info(n, t, None) for n, t in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in initializers.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("com.microsoft", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options)


@pytest.mark.parametrize("tokens", [1, 40])
@pytest.mark.parametrize(("bits", "block_size"), [(4, 32), (4, 128), (8, 16), (8, 128)])
def test_blocks_are_what_matmul_nbits_multiplies(bits: int, block_size: int, tokens: int) -> None:
    rng = np.random.default_rng(bits)
    blocks = K // block_size
    packed = rng.integers(0, 256, (N, blocks, block_size * bits // 8)).astype(np.uint8)
    scale = rng.uniform(0.005, 0.015, (N, blocks)).astype(np.float32)
    attributes = {"K": K, "N": N, "bits": bits, "block_size": block_size, "accuracy_level": 4}
    node = (("MatMulNBits", ["x", "b", "s"], ["y"]), {"domain": "com.microsoft", **attributes})
    run = session([node], [("x", ["t", K])], [("y", 1)], {"b": packed, "s": scale})
    values = packed if bits == 8 else np.stack([packed & 15, packed >> 4], axis=-1)
    whole = values.reshape(N, blocks, block_size).astype(np.float32) - (1 << (bits - 1))
    weight = (whole * scale[..., None]).reshape(N, K)
    x = rows(tokens)
    (found,) = run.run(None, {"x": x})
    size = np.linalg.norm(found)
    assert np.linalg.norm(round_blocks(x, block_size) @ weight.T - found) < 1e-5 * size
    assert np.linalg.norm(x @ weight.T - found) > 1e-3 * size


def test_tokens_are_what_the_graph_multiplies() -> None:
    """The operators of our graphs, by the same rule written in ONNX alone."""
    onnx = pytest.importorskip("onnx")
    x = np.concatenate([rows(6), np.zeros((1, K), np.float32), np.abs(rows(1)), -np.abs(rows(1))])
    scale = np.maximum(np.abs(x).max(axis=1), np.float32(1e-30)) * np.float32(1 / 127)
    node = (("QuantizeLinear", ["x", "s", "z"], ["q"]), {"axis": 0})
    constants = {"s": scale, "z": np.full(len(x), 128, np.uint8)}
    run = session([node], [("x", [len(x), K])], [("q", onnx.TensorProto.UINT8)], constants)
    (q,) = run.run(None, {"x": x})
    expected = (q.astype(np.float32) - 128) * scale[:, None]
    np.testing.assert_array_equal(round_tokens(x), expected)


def test_error_is_at_most_half_a_step() -> None:
    x = rows(20)
    step = np.abs(x).max(axis=1, keepdims=True) / 127
    assert (np.abs(round_tokens(x) - x) <= 0.5001 * step).all()
    blocks = np.abs(x.reshape(20, -1, 32)).max(axis=2).repeat(32, axis=1) / 127
    assert (np.abs(round_blocks(x, 32) - x) <= 0.5001 * blocks).all()


def test_zeros_and_short_blocks() -> None:
    zeros = np.zeros((2, 40), np.float32)
    assert (round_tokens(zeros) == 0).all()
    assert (round_blocks(zeros, 32) == 0).all()
    x = rows(3)[:, :40]
    found = round_blocks(x, 32)
    assert found.shape == x.shape
    assert (found[:, 32:] == round_blocks(x[:, 32:], 32)).all()


def test_outliers_stay_and_leave_the_others_their_range() -> None:
    x = rows(8)
    found = Rounding(outliers=(5,)).apply(x)
    assert (found[:, 5] == x[:, 5]).all()
    others = np.delete(x, 5, axis=1)
    assert (np.delete(found, 5, axis=1) == round_tokens(others)).all()
    assert np.abs(found - x).max() < 0.5 * np.abs(round_tokens(x) - x).max()
    assert x[0, 5] == rows(8)[0, 5]  # the input is left alone


def test_what_the_index_says() -> None:
    rounding = rounding_of(
        {
            "a": {"scheme": "column", "bits": 7, "outliers": [3, 9]},
            "b": {"scheme": "block", "bits": 4, "block_size": 32},
            "c": {"scheme": "block", "bits": 8, "block_size": 128, "accuracy_level": 0},
            "d": {"scheme": "row", "bits": 8},
        }
    )
    assert rounding == {"a": Rounding(outliers=(3, 9)), "b": Rounding(32)}
    assert in_words(rounding) == "int8 per block of 32, int8 per token"
    assert in_words({}) == "float32"
    x, observe = rows(2), rounder(rounding)
    assert observe("c", x) is None
    np.testing.assert_array_equal(observe("b", x), round_blocks(x, 32))
