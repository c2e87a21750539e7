"""One layer of ChatGLM2/3 in plain NumPy: pure functions over float32 arrays.

Source: the official `modeling_chatglm.py` of ChatGLM2-6B and ChatGLM3-6B. Rows of a batch lie one
after the other in one [tokens, hidden] array, so there is no padding; only attention looks at rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmlite.model.config import ModelConfig

Float32Array = NDArray[np.float32]
# Called with a matrix' name and the float32 [tokens, in] that is about to be multiplied with it;
# what it returns, if anything, is multiplied instead.
Observer = Callable[[str, Float32Array], "Float32Array | None"]

QKV = "self_attention.query_key_value.weight"
DENSE = "self_attention.dense.weight"
UP = "mlp.dense_h_to_4h.weight"
DOWN = "mlp.dense_4h_to_h.weight"


@dataclasses.dataclass(frozen=True)
class LayerWeights:
    """One layer's parameters, float32; matrices are [out_features, in_features]."""

    input_norm: Float32Array
    qkv: Float32Array
    qkv_bias: Float32Array | None
    dense: Float32Array
    post_norm: Float32Array
    up: Float32Array
    down: Float32Array


@dataclasses.dataclass(frozen=True)
class Row:
    """One sequence of a batch in one layer.

    Attributes:
        span: the sequence's n tokens in the [tokens, hidden] array.
        keys: [groups, length, head_dim], everything these tokens may attend to; the last n slots
            are theirs, and the layer writes them.
        values: the same for the values.
    """

    span: slice
    keys: Float32Array
    values: Float32Array


def rms_norm(x: Float32Array, weight: Float32Array, eps: float) -> Float32Array:
    """Root mean square normalization over the last axis (arXiv:1910.07467)."""
    mean_square = np.mean(np.square(x), axis=-1, keepdims=True)
    normed: Float32Array = x / np.sqrt(mean_square + np.float32(eps)) * weight
    return normed


def silu(x: Float32Array) -> Float32Array:
    """`x * sigmoid(x)` (arXiv:1702.03118); far below zero the exponential may overflow to 0."""
    with np.errstate(over="ignore"):
        activated: Float32Array = x / (np.float32(1) + np.exp(-x))
    return activated


def rotation(
    config: ModelConfig, positions: NDArray[np.integer[Any]]
) -> tuple[Float32Array, Float32Array]:
    """Cosines and sines of the rotary embedding (arXiv:2104.09864).

    Args:
        config: head size and rotary settings.
        positions: [n], tokens before each token; prefix slots do not count.

    Returns:
        Two float32 [n, rotary_dim // 2] arrays.
    """
    exponents = np.arange(0, config.rotary_dim, 2, dtype=np.float64) / config.rotary_dim
    frequencies = config.rope.effective_base**-exponents
    angles = np.outer(positions * config.rope.position_scale, frequencies)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rotate(x: Float32Array, cos: Float32Array, sin: Float32Array) -> Float32Array:
    """Turn the adjacent pairs (0, 1), (2, 3), … of the first `2 * cos.shape[1]` channels.

    Args:
        x: [n, heads, head_dim].
        cos: [n, pairs], see `rotation`.
        sin: the same.
    """
    width = 2 * cos.shape[1]
    even, odd = x[..., 0:width:2], x[..., 1:width:2]
    cos, sin = cos[:, None, :], sin[:, None, :]
    result: Float32Array = x.copy()
    result[..., 0:width:2] = even * cos - odd * sin
    result[..., 1:width:2] = odd * cos + even * sin
    return result


def attend(queries: Float32Array, keys: Float32Array, values: Float32Array) -> Float32Array:
    """Causal grouped-query attention (arXiv:2305.13245) of the last n slots' tokens.

    Args:
        queries: [n, heads, head_dim].
        keys: [groups, length, head_dim], length ≥ n; query i sees all but the last n - 1 - i.
        values: the same shape.

    Returns:
        [n, heads * head_dim].
    """
    n, heads, head_dim = queries.shape
    groups, length, _ = keys.shape
    per_group = heads // groups
    hidden = np.arange(length) > np.arange(length - n, length)[:, None]  # [n, length]
    result = np.empty_like(queries)
    for group in range(groups):
        own = slice(group * per_group, (group + 1) * per_group)
        scores = queries[:, own].transpose(1, 0, 2) @ keys[group].T  # [per_group, n, length]
        scores /= np.float32(np.sqrt(head_dim))
        scores[:, hidden] = -np.inf
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        result[:, own] = (scores @ values[group]).transpose(1, 0, 2)
    return result.reshape(n, heads * head_dim)


def observed(observe: Observer | None, name: str, x: Float32Array) -> Float32Array:
    """What `observe` makes of a matrix' input; without one, the input itself."""
    replacement = observe(name, x) if observe else None
    return x if replacement is None else replacement


def layer_forward(
    config: ModelConfig,
    weights: LayerWeights,
    hidden: Float32Array,
    angles: tuple[Float32Array, Float32Array],
    rows: Sequence[Row],
    observe: Observer | None = None,
) -> Float32Array:
    """One pre-norm residual block: attention, then the gated MLP.

    Args:
        config: sizes.
        weights: of this layer.
        hidden: [tokens, hidden_size].
        angles: of every token, see `rotation`.
        rows: together they span all tokens; their last cache slots are written.
        observe: gets what enters each of the four matrices, under its name inside the layer.

    Returns:
        [tokens, hidden_size].
    """
    tokens = len(hidden)
    x = rms_norm(hidden, weights.input_norm, config.norm_eps)
    x = observed(observe, QKV, x) @ weights.qkv.T
    if weights.qkv_bias is not None:
        x += weights.qkv_bias
    query, key, value = np.split(x, (config.query_size, config.query_size + config.group_size), 1)
    query = rotate(query.reshape(tokens, config.num_heads, config.head_dim), *angles)
    key = rotate(key.reshape(tokens, config.num_groups, config.head_dim), *angles)
    value = value.reshape(tokens, config.num_groups, config.head_dim)

    attended = np.empty((tokens, config.query_size), np.float32)
    for row in rows:
        n = row.span.stop - row.span.start
        row.keys[:, -n:] = key[row.span].transpose(1, 0, 2)
        row.values[:, -n:] = value[row.span].transpose(1, 0, 2)
        attended[row.span] = attend(query[row.span], row.keys, row.values)
    hidden = hidden + observed(observe, DENSE, attended) @ weights.dense.T

    x = rms_norm(hidden, weights.post_norm, config.norm_eps)
    x = observed(observe, UP, x) @ weights.up.T
    gate, linear = np.split(x, 2, axis=1)
    hidden += observed(observe, DOWN, silu(gate) * linear) @ weights.down.T
    return hidden
