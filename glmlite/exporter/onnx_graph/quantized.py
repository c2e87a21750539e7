"""Matrix products and embedding lookups over the quantized forms of `glmlite.toolchain.quantized`.

Blocks go to MatMulNBits. Columns are multiplied as integers: every token's activations are rounded
to uint8 around 128 with a scale of their own, absmax / 127, so that a token's result does not
depend on which others are in its chunk. (`DynamicQuantizeMatMul` has one scale for all tokens, and
MatMulIntegerToFloat one zero point.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from glmlite.errors import ExportError
from glmlite.exporter.onnx_graph.builder import MICROSOFT, GraphBuilder
from glmlite.toolchain.quantized import COLUMN, OUTLIER, PACKED, ROWS, SCALE, ZERO_POINT

if TYPE_CHECKING:
    from glmlite.exporter.onnx_graph.linear import Products

_MIDDLE = np.uint8(128)


def quantized_linear(
    graph: GraphBuilder,
    products: Products,
    x: str,
    name: str,
    stored: Mapping[str, Any],
    scope: str,
    bias: str | None = None,
) -> str:
    """Y = x · weightᵀ (+ bias) over a quantized weight.

    Args:
        graph: gets the nodes.
        products: how they multiply.
        x: float32 [..., in].
        name: of the parameter in the index.
        stored: its entry there.
        scope: module path of the nodes.
        bias: name of a parameter [out], or None.

    Returns:
        Tensor float32 [..., out].

    Raises:
        ExportError: the weight is stored as a table.
    """
    if stored["scheme"] == "block":
        y = _blocks(graph, products, x, name, stored, scope)
    elif stored["scheme"] == "column":
        y = _columns(graph, x, name, stored, scope)
    else:
        raise ExportError("{name} is stored as a table; it cannot be multiplied by.", name=name)
    if bias is not None:
        y = graph.node("Add", [y, graph.float_weight(bias, scope)], scope, graph.shape_of(y))
    return y


def quantized_embedding(
    graph: GraphBuilder, ids: str, name: str, stored: Mapping[str, Any], scope: str
) -> str:
    """Rows of a quantized table.

    Args:
        graph: gets the nodes.
        ids: int32 [...].
        name: of the parameter in the index.
        stored: its entry there.
        scope: module path of the nodes.

    Returns:
        Tensor float32 [..., hidden].

    Raises:
        ExportError: the weight is stored as a matrix.
    """
    if stored["scheme"] != "row":
        raise ExportError("{name} is stored as a matrix; its rows cannot be looked up.", name=name)
    ids_shape = graph.shape_of(ids)
    shape = (*ids_shape, stored["shape"][1])
    rows = graph.node("Gather", [graph.tensor(name + ROWS), ids], scope, shape, np.int8, axis=0)
    scale = graph.node("Gather", [graph.tensor(name + SCALE), ids], scope, ids_shape, axis=0)
    last = graph.integers([-1])
    scale = graph.node("Unsqueeze", [scale, last], scope, (*ids_shape, 1))
    return graph.node("Mul", [graph.cast(rows, np.float32, scope), scale], scope, shape)


def _blocks(
    graph: GraphBuilder,
    products: Products,
    x: str,
    name: str,
    stored: Mapping[str, Any],
    scope: str,
) -> str:
    out, columns = stored["shape"]
    suffixes = (PACKED, SCALE) if stored["symmetric"] else (PACKED, SCALE, ZERO_POINT)
    return graph.node(
        "MatMulNBits",
        [x, *(graph.tensor(name + suffix) for suffix in suffixes)],
        scope,
        (*graph.shape_of(x)[:-1], out),
        domain=MICROSOFT,
        K=columns,
        N=out,
        bits=stored["bits"],
        block_size=stored["block_size"],
        accuracy_level=stored.get("accuracy_level", products.accuracy_level),
    )


def _columns(graph: GraphBuilder, x: str, name: str, stored: Mapping[str, Any], scope: str) -> str:
    out = stored["shape"][0]
    shape = (*graph.shape_of(x)[:-1], out)
    outliers = stored.get("outliers", [])
    rest = x
    if outliers:
        mask = np.ones(stored["shape"][1], np.float32)
        mask[outliers] = 0
        kept = graph.constant(f"{name}.kept", mask)
        rest = graph.node("Mul", [x, kept], scope, graph.shape_of(x))
    integers, scale = round_tokens(graph, rest, scope)
    inputs = [
        integers,
        graph.tensor(name + COLUMN),
        graph.constant("one", np.array(1, np.float32)),
        graph.tensor(name + SCALE),
        graph.constant("uint8_128", np.array(_MIDDLE)),
    ]
    if stored["bits"] == 8:
        inputs.append(inputs[-1])
    y = graph.node("MatMulIntegerToFloat", inputs, scope, shape, domain=MICROSOFT)
    y = graph.node("Mul", [y, scale], scope, shape)
    if not outliers:
        return y
    some = graph.constant(f"{name}.outliers", np.array(outliers, np.int64))
    part = (*shape[:-1], len(outliers))
    x = graph.node("Gather", [x, some], scope, part, axis=-1)
    product = graph.node("MatMul", [x, graph.tensor(name + OUTLIER)], scope, shape)
    return graph.node("Add", [y, product], scope, shape)


def round_tokens(graph: GraphBuilder, x: str, scope: str) -> tuple[str, str]:
    """Activations as uint8 around 128, and what one step of each token's is worth.

    The fastest of the forms that were measured: smallest and largest value, then QuantizeLinear
    with an axis; the reshapes copy nothing.

    Args:
        graph: gets the nodes.
        x: float32 [..., in].
        scope: module path of the nodes.

    Returns:
        uint8 [..., in] and float32 [..., 1].
    """
    shape = graph.shape_of(x)
    one, flat = (*shape[:-1], 1), ("all_tokens", shape[-1])
    low = graph.node("ReduceMin", [x], scope, one, axes=[-1], keepdims=1)
    high = graph.node("ReduceMax", [x], scope, one, axes=[-1], keepdims=1)
    # A token of nothing but zeros must not be divided by 0.
    least = graph.constant("least_absmax", np.array(1e-30, np.float32))
    size = graph.node("Max", [graph.node("Neg", [low], scope, one), high, least], scope, one)
    step = graph.constant("step_of_127", np.array(1 / 127, np.float32))
    scale = graph.node("Mul", [size, step], scope, one)
    scales = graph.node("Reshape", [scale, graph.integers([-1])], scope, ("all_tokens",))
    count = graph.node("Shape", [scales], scope, (1,), np.int64)
    middles = graph.constant_of_shape(count, np.array([_MIDDLE]), scope, ("all_tokens",))
    width = shape[-1]
    assert isinstance(width, int)  # noqa: S101 - a matrix has so many columns
    rows = graph.node("Reshape", [x, graph.integers([-1, width])], scope, flat)
    integers = graph.node("QuantizeLinear", [rows, scales, middles], scope, flat, np.uint8, axis=0)
    whole = graph.node("Shape", [x], scope, (len(shape),), np.int64)
    return graph.node("Reshape", [integers, whole], scope, shape, np.uint8), scale
