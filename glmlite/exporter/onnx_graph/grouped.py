"""Group-query attention as two products of matrices for each group of heads, the cache in place.

GroupQueryAttention reads a group's keys once for each head, 16 times in a 6B model; decoding
far into a context spends its time there. Here the heads of a group are rows of one matrix, as a
chunk's tokens are, so the keys are read once (arXiv 2305.13245). Scores are written out, and cost
S, not what the longest row holds: an engine begins with a short cache. Chunks of many tokens are
better off with GroupQueryAttention, which skips what causality hides.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from glmlite.exporter.onnx_graph.builder import MICROSOFT, GraphBuilder, Shape
from glmlite.exporter.onnx_graph.explicit import STEP, counting, sizes_of
from glmlite.exporter.onnx_graph.rotary import add_tables
from glmlite.model.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class GroupedStep:
    """What all layers of one step share.

    Attributes:
        positions: int64 [batch, tokens], of the rotary embedding.
        cos: float32 [rows, rotary_dim / 2]. sin: the same.
        bias: float32 [batch, 1, 1, tokens, S], a large negative number where t does not see s.
        valid: int64 [valid_tokens], which of all tokens are no padding.
        slots: int64 [valid_tokens, groups, 3], where their keys and values go.
        split: int64 [5], the shape batch, groups, heads of a group, tokens, S.
        merged: int64 [4], the shape batch, groups, -1, S.
    """

    positions: str
    cos: str
    sin: str
    bias: str
    valid: str
    slots: str
    split: str
    merged: str


def prepare_grouped(
    graph: GraphBuilder,
    model: ModelConfig,
    inputs: tuple[str, str, str],
    cache_length: int,
    prefix_length: int,
) -> GroupedStep:
    """Masks, positions and slots of one step.

    Args:
        graph: gets the nodes.
        model: sizes.
        inputs: input_ids [batch, tokens], position [batch], valid_length [batch].
        cache_length: the largest S.
        prefix_length: P.
    """
    ids, position, valid = inputs
    shape: Shape = ("batch", "tokens")
    groups = model.num_groups

    def reshape(tensor: str, to: list[int], shape: Shape, dtype: type = np.int32) -> str:
        return graph.node("Reshape", [tensor, graph.integers(to)], STEP, shape, dtype)

    token = counting(graph, sizes_of(graph, ids, 1, 2), cache_length, "tokens")
    slot = counting(graph, sizes_of(graph, "past.0.key", 2, 3), cache_length, "cache_length")
    begin = reshape(position, [-1, 1], ("batch", 1))
    at = graph.node("Add", [begin, token], STEP, shape, np.int32)
    # Padding may lie behind the table; what it becomes is used nowhere.
    last = graph.scalar(cache_length - 1)
    positions = graph.node("Min", [at, last], STEP, shape, np.int32)
    positions = graph.cast(positions, np.int64, STEP)
    filled = at
    if prefix_length:
        filled = graph.node("Add", [at, graph.scalar(prefix_length)], STEP, shape, np.int32)

    mask: Shape = ("batch", 1, 1, "tokens", "cache_length")
    own = reshape(filled, [0, 1, 1, -1, 1], ("batch", 1, 1, "tokens", 1))
    hidden = graph.node("Greater", [slot, own], STEP, mask, np.bool_)
    masked = graph.constant("masked", np.array([-1e9], np.float32))
    bias = graph.node("Mul", [graph.cast(hidden, np.float32, STEP), masked], STEP, mask)

    lengths = reshape(valid, [-1, 1], ("batch", 1))
    is_valid = graph.node("Less", [token, lengths], STEP, shape, np.bool_)
    every = graph.node("Reshape", [is_valid, graph.integers([-1])], STEP, ("all_tokens",), np.bool_)
    found = graph.node("NonZero", [every], STEP, (1, "valid_tokens"), np.int64)
    index = reshape(found, [-1], ("valid_tokens",), np.int64)

    rows = graph.node("Shape", [ids], STEP, (2,), np.int64)
    width = graph.node("Gather", [rows, graph.scalar(1, np.int64)], STEP, (), np.int64, axis=0)
    row = graph.node("Div", [index, width], STEP, ("valid_tokens",), np.int64)
    places = graph.node("Reshape", [filled, graph.integers([-1])], STEP, ("all_tokens",), np.int32)
    place = graph.node("Gather", [places, index], STEP, ("valid_tokens",), np.int32, axis=0)
    place = graph.cast(place, np.int64, STEP)
    one, target = ("valid_tokens", 1, 1), ("valid_tokens", groups, 1)
    row, place = (reshape(x, [-1, 1, 1], one, np.int64) for x in (row, place))
    each = graph.constant("groups", np.arange(groups, dtype=np.int64).reshape(1, groups, 1))
    counts = graph.node("Shape", [row], STEP, (3,), np.int64)
    wide = graph.integers([1, groups, 1])
    parts = [
        graph.node("Expand", pair, STEP, target, np.int64)
        for pair in ([row, wide], [each, counts], [place, wide])
    ]
    slots = graph.node("Concat", parts, STEP, ("valid_tokens", groups, 3), np.int64, axis=2)

    batch, tokens = sizes_of(graph, ids, 0, 1), sizes_of(graph, ids, 1, 2)
    length = sizes_of(graph, "past.0.key", 2, 3)
    heads = graph.integers([groups, model.num_heads // groups])
    split = graph.node("Concat", [batch, heads, tokens, length], STEP, (5,), np.int64, axis=0)
    rest = graph.integers([groups, -1])
    merged = graph.node("Concat", [batch, rest, length], STEP, (4,), np.int64, axis=0)
    cos, sin = add_tables(graph, model, cache_length)
    return GroupedStep(positions, cos, sin, bias, index, slots, split, merged)


def attend_grouped(
    graph: GraphBuilder,
    model: ModelConfig,
    mixed: str,
    past: tuple[str, str],
    step: GroupedStep,
    scope: str,
) -> tuple[str, str, str]:
    """Attention over the whole cache.

    Args:
        graph: gets the nodes.
        model: sizes.
        mixed: float32 [batch, tokens, qkv_size]: queries, keys and values, not rotated.
        past: keys and values [batch, groups, S, head_dim]; written in place where `present` is
            bound to the same memory.
        step: what the layers share.
        scope: module path.

    Returns:
        The context float32 [batch, tokens, query_size], the new keys and the new values.
    """
    heads, groups, head_dim = model.num_heads, model.num_groups, model.head_dim
    repeat = heads // groups
    cache = graph.shape_of(past[0])
    batch, tokens = graph.shape_of(mixed)[:2]

    def reshape(tensor: str, to: list[int], shape: Shape) -> str:
        return graph.node("Reshape", [tensor, graph.integers(to)], scope, shape)

    def split(tensor: str, first: int, second: int) -> list[str]:
        sizes = graph.integers([first * head_dim, second * head_dim])
        shapes = {k: (batch, tokens, n * head_dim) for k, n in enumerate((first, second))}
        return graph.nodes("Split", [tensor, sizes], scope, shapes, axis=-1)

    def write(old: str, new: str) -> str:
        """The cache with the valid rows of the step in it."""
        new = reshape(new, [-1, groups, head_dim], ("all_tokens", groups, head_dim))
        shape: Shape = ("valid_tokens", groups, head_dim)
        new = graph.node("Gather", [new, step.valid], scope, shape, axis=0)
        return graph.node("ScatterND", [old, step.slots, new], scope, cache)

    rotated, value = split(mixed, heads + groups, groups)
    rotated = graph.node(
        "RotaryEmbedding",
        [rotated, step.positions, step.cos, step.sin],
        f"{scope}/rotary",
        graph.shape_of(rotated),
        domain=MICROSOFT,
        interleaved=1,
        num_heads=heads + groups,
        rotary_embedding_dim=model.rotary_dim,
    )
    query, key = split(rotated, heads, groups)
    keys, values = write(past[0], key), write(past[1], value)

    query = reshape(query, [0, 0, heads, head_dim], (batch, tokens, heads, head_dim))
    order = (batch, heads, tokens, head_dim)
    query = graph.node("Transpose", [query], scope, order, perm=[0, 2, 1, 3])
    grouped: Shape = (batch, groups, "group_rows", head_dim)
    query = reshape(query, [0, groups, -1, head_dim], grouped)
    flat, apart = (*grouped[:3], "cache_length"), (batch, groups, repeat, tokens, "cache_length")
    scale = 1 / math.sqrt(head_dim)
    scores = graph.node(
        "FusedMatMul", [query, keys], scope, flat, domain=MICROSOFT, transB=1, alpha=scale
    )
    scores = graph.node("Reshape", [scores, step.split], scope, apart)
    scores = graph.node("Add", [scores, step.bias], scope, apart)
    scores = graph.node("Softmax", [scores], scope, apart, axis=-1)
    scores = graph.node("Reshape", [scores, step.merged], scope, flat)
    context = graph.node("MatMul", [scores, values], scope, grouped)
    context = reshape(context, [0, heads, -1, head_dim], order)
    shape = (batch, tokens, heads, head_dim)
    context = graph.node("Transpose", [context], scope, shape, perm=[0, 2, 1, 3])
    context = reshape(context, [0, 0, model.query_size], (batch, tokens, model.query_size))
    return context, keys, values
