"""Rotary positions (RoFormer, arXiv 2104.09864) as half-width tables, and their use."""

from __future__ import annotations

import numpy as np

from glmlite.exporter.onnx_graph.builder import GraphBuilder
from glmlite.model.config import ModelConfig
from glmlite.model.reference import rotation


def add_tables(
    graph: GraphBuilder, model: ModelConfig, rows: int, prefix_length: int = 0
) -> tuple[str, str]:
    """Cosines and sines of positions 0 … as constants, float32 [rows, rotary_dim / 2] each.

    One column for each pair of channels, which is half of what an element-wise product would take:
    8 MB for 32,768 rows of a 6B model.

    Args:
        graph: gets the constants.
        model: rotary settings.
        rows: of the tables.
        prefix_length: rows put before position 0, for tables that are indexed by cache slot.
    """
    cos, sin = rotation(model, np.maximum(np.arange(rows) - prefix_length, 0))
    return graph.constant("rotary_cos", cos), graph.constant("rotary_sin", sin)


def rotate(
    graph: GraphBuilder, x: str, heads: int, head_dim: int, angles: tuple[str, str], scope: str
) -> str:
    """Turn the adjacent pairs of the first half of every head, in standard operators.

    Args:
        graph: gets the nodes.
        x: float32 [n, heads, head_dim].
        heads: of x.
        head_dim: of x.
        angles: cosines and sines, float32 [n, 1, rotary_dim / 2, 1].
        scope: module path.

    Returns:
        The same shape as x.
    """
    n = graph.shape_of(x)[0]
    cos, sin = angles
    turned, pairs = head_dim // 2, head_dim // 4

    def part(tensor: str, begin: int, end: int, axis: int, shape: tuple[int | str, ...]) -> str:
        bounds = [graph.integers([k]) for k in (begin, end, axis)]
        return graph.node("Slice", [tensor, *bounds], scope, shape)

    rotated = part(x, 0, turned, 2, (n, heads, turned))
    rest = part(x, turned, head_dim, 2, (n, heads, head_dim - turned))
    paired = graph.node(
        "Reshape", [rotated, graph.integers([-1, heads, pairs, 2])], scope, (n, heads, pairs, 2)
    )
    one = (n, heads, pairs, 1)
    even, odd = part(paired, 0, 1, 3, one), part(paired, 1, 2, 3, one)

    def product(a: str, b: str) -> str:
        return graph.node("Mul", [a, b], scope, one)

    new_even = graph.node("Sub", [product(even, cos), product(odd, sin)], scope, one)
    new_odd = graph.node("Add", [product(odd, cos), product(even, sin)], scope, one)
    paired = graph.node("Concat", [new_even, new_odd], scope, (n, heads, pairs, 2), axis=3)
    rotated = graph.node(
        "Reshape", [paired, graph.integers([-1, heads, turned])], scope, (n, heads, turned)
    )
    return graph.node("Concat", [rotated, rest], scope, (n, heads, head_dim), axis=2)
