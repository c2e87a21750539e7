"""Matrix products and embedding lookups, by how the weights index says the weight is stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from glmlite.errors import ExportError
from glmlite.exporter.onnx_graph.builder import MICROSOFT, GraphBuilder


@dataclasses.dataclass(frozen=True)
class Products:
    """How a graph multiplies by weights.

    Attributes:
        flavor: "ort" or "standard".
        accuracy_level: of MatMulNBits: 4 computes in int8, 0 in float32.
    """

    flavor: str = "ort"
    accuracy_level: int = 4


def storage_of(graph: GraphBuilder, name: str) -> tuple[str, Mapping[str, Any] | None]:
    """A parameter's name in the index, and how it is quantized there; None for a plain one."""
    stored = graph.stored_name(name)
    return stored, graph.quantized.get(stored)


def _refuse_quantized(name: str) -> ExportError:
    return ExportError(
        "{name} is quantized; graphs of flavor standard take plain weights only.",
        hint="Use the flavor ort: --set export.flavor=ort",
        name=name,
    )


def linear(
    graph: GraphBuilder,
    products: Products,
    x: str,
    name: str,
    scope: str,
    bias: str | None = None,
) -> str:
    """The product x · weightᵀ, plus the bias if there is one.

    Args:
        graph: gets the nodes.
        products: how they multiply.
        x: float32 [..., in].
        name: of the parameter [out, in].
        scope: module path of the nodes.
        bias: name of a parameter [out], or None.

    Returns:
        Tensor float32 [..., out].
    """
    stored, form = storage_of(graph, name)
    if form is not None:
        if products.flavor == "standard":
            raise _refuse_quantized(stored)
        from glmlite.exporter.onnx_graph.quantized import quantized_linear

        return quantized_linear(graph, products, x, stored, form, scope, bias)
    shape = graph.shape_of(x)
    weight = graph.float_weight(name, scope)
    out = graph.shape_of(weight)[0]
    if products.flavor == "standard":
        inputs = [x, weight]
        if bias is not None:
            inputs.append(graph.float_weight(bias, scope))
        return graph.node("Gemm", inputs, scope, (*shape[:-1], out), transB=1)
    y = graph.node(
        "FusedMatMul", [x, weight], scope, (*shape[:-1], out), domain=MICROSOFT, transB=1
    )
    if bias is not None:
        y = graph.node("Add", [y, graph.float_weight(bias, scope)], scope, (*shape[:-1], out))
    return y


def embedding(graph: GraphBuilder, products: Products, ids: str, name: str, scope: str) -> str:
    """Rows of a table.

    Args:
        graph: gets the nodes.
        products: the flavor.
        ids: int32 [...].
        name: of the parameter [V, hidden].
        scope: module path of the nodes.

    Returns:
        Tensor float32 [..., hidden].
    """
    stored, form = storage_of(graph, name)
    if form is not None:
        if products.flavor == "standard":
            raise _refuse_quantized(stored)
        from glmlite.exporter.onnx_graph.quantized import quantized_embedding

        return quantized_embedding(graph, ids, stored, form, scope)
    table = graph.weight(name)
    shape = (*graph.shape_of(ids), graph.shape_of(table)[1])
    dtype = graph.index.tensors[table]["dtype"]
    rows = graph.node("Gather", [table, ids], scope, shape, dtype, axis=0)
    return graph.cast(rows, np.float32, scope)
