"""Rotary positions (RoFormer, arXiv 2104.09864) as constants of a graph; NumPy alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


def rotary_tables(
    config: Mapping[str, Any], rows: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosine and sine of every position; channels that are not rotated get 1 and 0.

    Angles are computed in float64: position * scale * base**(-2i/d), the same for both channels of
    a pair (the pairs are adjacent as in the official GLM code).

    Args:
        config: the model configuration as plain data (`ModelConfig.to_dict()`).
        rows: number of positions.

    Returns:
        cos and sin, float32 [rows, head_dim] each.
    """
    rope, head_dim = config["rope"], config["head_dim"]
    rotary_dim = head_dim // 2
    scale = 1.0 / rope["ratio"] if rope["kind"] == "linear" else 1.0
    base = rope["base"] * (rope["ratio"] if rope["kind"] == "base" else 1.0)
    frequency = base ** (-np.arange(0, rotary_dim, 2, dtype=np.float64) / rotary_dim)
    angle = np.repeat(np.arange(rows, dtype=np.float64)[:, None] * scale * frequency, 2, axis=1)
    cos, sin = np.ones((rows, head_dim)), np.zeros((rows, head_dim))
    cos[:, :rotary_dim], sin[:, :rotary_dim] = np.cos(angle), np.sin(angle)
    return cos.astype(np.float32), sin.astype(np.float32)


def pair_rotation(head_dim: int) -> NDArray[np.float32]:
    """float32 [head_dim, head_dim]; `x @ it` turns each rotated pair (a, b) into (-b, a)."""
    matrix = np.zeros((head_dim, head_dim), np.float32)
    for i in range(0, head_dim // 2, 2):
        matrix[i + 1, i] = -1.0
        matrix[i, i + 1] = 1.0
    return matrix
