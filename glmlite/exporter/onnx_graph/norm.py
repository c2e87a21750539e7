"""Root mean square normalization (arXiv 1910.07467), alone or with the residual addition."""

from __future__ import annotations

import numpy as np

from glmlite.exporter.onnx_graph.builder import MICROSOFT, GraphBuilder


def rms_norm(graph: GraphBuilder, x: str, name: str, eps: float, scope: str) -> str:
    """X / Sqrt(mean(x²) + eps) · weight in standard operators, over the last axis.

    Written with Sqrt and Div: MindSpore Lite 2.0.0 computes a reciprocal root imprecisely. ONNX
    Runtime fuses the nodes into one.
    """
    shape = graph.shape_of(x)
    one = (*shape[:-1], 1)
    square = graph.node("Mul", [x, x], scope, shape)
    mean = graph.node("ReduceMean", [square], scope, one, axes=[-1], keepdims=1)
    small = graph.constant("norm_eps", np.array([eps], np.float32))
    root = graph.node("Sqrt", [graph.node("Add", [mean, small], scope, one)], scope, one)
    normed = graph.node("Div", [x, root], scope, shape)
    return graph.node("Mul", [normed, graph.float_weight(name, scope)], scope, shape)


def add_and_norm(
    graph: GraphBuilder, x: str, residual: str, name: str, eps: float, scope: str
) -> tuple[str, str]:
    """The sum of x and the residual, normalized, and the sum itself; one fused operator."""
    shape = graph.shape_of(x)
    normed, total = graph.nodes(
        "SkipSimplifiedLayerNormalization",
        [x, residual, graph.float_weight(name, scope)],
        scope,
        {0: shape, 3: shape},
        domain=MICROSOFT,
        epsilon=eps,
    )
    return normed, total
