"""Attention and cache update in standard operators: mask arithmetic, as the MindIR network does it.

The flavor `standard` is made of it, and so is `ort` where heads have a size that ONNX Runtime's
GroupQueryAttention does not take. Only operators and forms that MindSpore Lite 2.0.0's converter
reads are used: sizes come from Shape and Slice, masks from Equal, Greater and Cast.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from glmlite.exporter.onnx_graph.builder import GraphBuilder, Shape
from glmlite.exporter.onnx_graph.rotary import add_tables, rotate
from glmlite.model.config import ModelConfig

STEP = "/step"


@dataclasses.dataclass(frozen=True)
class Masks:
    """What all layers of one step share; n = batch · tokens.

    Attributes:
        angles: cosines and sines of this step's tokens, float32 [n, 1, rotary_dim / 2, 1].
        writes: float32 [batch, S, tokens], 1 where slot s takes token t.
        keeps: float32 [batch, 1, S, 1], 0 where a slot is written.
        bias: float32 [batch, 1, tokens, S], a large negative number where t does not see s.
        tokens: int64 [2], batch and tokens.
        token: int32 [tokens], 0, 1, ….
    """

    angles: tuple[str, str]
    writes: str
    keeps: str
    bias: str
    tokens: str
    token: str


def counting(graph: GraphBuilder, size: str, length: int, dimension: str) -> str:
    """0, 1, … up to a size [1] that is at most `length`, as int32 [size]."""
    numbers = graph.constant("counting", np.arange(length, dtype=np.int32))
    bounds = [graph.integers([0]), size, graph.integers([0])]
    return graph.node("Slice", [numbers, *bounds], STEP, (dimension,), np.int32)


def sizes_of(graph: GraphBuilder, tensor: str, begin: int, end: int) -> str:
    """Dimensions begin … end - 1 of a tensor, int64 [end - begin]."""
    shape = graph.node("Shape", [tensor], STEP, (len(graph.shape_of(tensor)),), np.int64)
    bounds = [graph.integers([k]) for k in (begin, end, 0)]
    return graph.node("Slice", [shape, *bounds], STEP, (end - begin,), np.int64)


def make_masks(
    graph: GraphBuilder,
    model: ModelConfig,
    inputs: tuple[str, str, str],
    cache_length: int,
    prefix_length: int,
) -> Masks:
    """Masks and rotary angles of one step.

    Args:
        graph: gets the nodes.
        model: sizes.
        inputs: input_ids [batch, tokens], position [batch], valid_length [batch].
        cache_length: the largest S.
        prefix_length: P.
    """
    ids, position, valid = inputs
    shape: Shape = ("batch", "tokens")
    column: Shape = ("batch", 1)

    def integer(op: str, a: str, b: str) -> str:
        return graph.node(op, [a, b], STEP, shape, np.int32)

    def reshape(tensor: str, to: list[int], shape: Shape, dtype: type = np.float32) -> str:
        return graph.node("Reshape", [tensor, graph.integers(to)], STEP, shape, dtype)

    token = counting(graph, sizes_of(graph, ids, 1, 2), cache_length, "tokens")
    slot = counting(graph, sizes_of(graph, "past.0.key", 2, 3), cache_length, "cache_length")

    # Slot of each token plus one; padding gets 0, so that it is written nowhere and sees nothing.
    lengths = reshape(valid, [-1, 1], column, np.int32)
    is_valid = graph.node("Less", [token, lengths], STEP, shape, np.bool_)
    is_valid = graph.cast(is_valid, np.int32, STEP)
    begin = reshape(position, [-1, 1], column, np.int32)
    begin = graph.node(
        "Add", [begin, graph.integers([prefix_length + 1], np.int32)], STEP, column, np.int32
    )
    after = integer("Mul", integer("Add", begin, token), is_valid)

    pairs = model.rotary_dim // 2
    angles = []
    for table in add_tables(graph, model, cache_length + 1, prefix_length + 1):
        found = graph.node("Gather", [table, after], STEP, (*shape, pairs), axis=0)
        angles.append(reshape(found, [-1, 1, pairs, 1], ("all_tokens", 1, pairs, 1)))

    mask: Shape = (*shape, "cache_length")
    slots = integer("Sub", after, graph.integers([1], np.int32))
    slots = reshape(slots, [0, -1, 1], (*shape, 1), np.int32)
    taken = graph.node("Equal", [slot, slots], STEP, mask, np.bool_)
    taken = graph.cast(taken, np.float32, STEP)
    turned: Shape = ("batch", "cache_length", "tokens")
    writes = graph.node("Transpose", [taken], STEP, turned, perm=[0, 2, 1])
    total = graph.node(
        "ReduceSum", [writes, graph.integers([2])], STEP, ("batch", "cache_length", 1), keepdims=1
    )
    one = graph.constant("one", np.array([1], np.float32))
    keeps = graph.node("Sub", [one, total], STEP, ("batch", "cache_length", 1))
    keeps = reshape(keeps, [0, 1, -1, 1], ("batch", 1, "cache_length", 1))

    hidden = graph.node("Greater", [slot, slots], STEP, mask, np.bool_)
    hidden = graph.cast(hidden, np.float32, STEP)
    masked = graph.constant("masked", np.array([-1e9], np.float32))
    bias = graph.node("Mul", [hidden, masked], STEP, mask)
    lengthened = graph.node(
        "Unsqueeze", [bias, graph.integers([1])], STEP, ("batch", 1, "tokens", "cache_length")
    )
    return Masks(
        (angles[0], angles[1]), writes, keeps, lengthened, sizes_of(graph, ids, 0, 2), token
    )


def attend(
    graph: GraphBuilder,
    model: ModelConfig,
    mixed: str,
    past: tuple[str, str],
    masks: Masks,
    scope: str,
) -> tuple[str, str, str]:
    """Group-query attention over the whole cache (arXiv 2305.13245).

    Args:
        graph: gets the nodes.
        model: sizes.
        mixed: float32 [..., qkv_size]: queries, keys and values, not rotated.
        past: keys and values [batch, groups, S, head_dim].
        masks: of the step.
        scope: module path.

    Returns:
        The context float32 [n, query_size], the new keys and the new values.
    """
    heads, groups, head_dim = model.num_heads, model.num_groups, model.head_dim
    grouped: Shape = ("batch", groups, "group_rows", head_dim)
    all_scores: Shape = ("batch", heads, "tokens", "cache_length")

    def reshape(tensor: str, to: list[int], shape: Shape) -> str:
        return graph.node("Reshape", [tensor, graph.integers(to)], scope, shape)

    def part(begin: int, end: int) -> str:
        bounds = [graph.integers([k]) for k in (begin, end, 1)]
        return graph.node("Slice", [flat, *bounds], scope, ("all_tokens", end - begin, head_dim))

    def write(old: str, new: str) -> str:
        """The cache with the step's rows in it."""
        to = graph.node(
            "Concat", [masks.tokens, graph.integers([-1])], scope, (3,), np.int64, axis=0
        )
        shape: Shape = ("batch", "tokens", model.group_size)
        new = graph.node("Reshape", [new, to], scope, shape)
        shape = ("batch", "cache_length", model.group_size)
        placed = graph.node("MatMul", [masks.writes, new], scope, shape)
        shape = ("batch", "cache_length", groups, head_dim)
        placed = reshape(placed, [0, -1, groups, head_dim], shape)
        cache = graph.shape_of(old)
        placed = graph.node("Transpose", [placed], scope, cache, perm=[0, 2, 1, 3])
        kept = graph.node("Mul", [old, masks.keeps], scope, cache)
        return graph.node("Add", [kept, placed], scope, cache)

    every = heads + 2 * groups
    flat = reshape(mixed, [-1, every, head_dim], ("all_tokens", every, head_dim))
    value = part(heads + groups, every)
    flat = rotate(
        graph, part(0, heads + groups), heads + groups, head_dim, masks.angles, f"{scope}/rotary"
    )
    query, key = part(0, heads), part(heads, heads + groups)
    keys, values = write(past[0], key), write(past[1], value)

    to = graph.node(
        "Concat", [masks.tokens, graph.integers([heads, head_dim])], scope, (4,), np.int64, axis=0
    )
    query = graph.node("Reshape", [query, to], scope, ("batch", "tokens", heads, head_dim))
    scale = graph.constant("attention_scale", np.array([1 / math.sqrt(head_dim)], np.float32))
    query = graph.node("Mul", [query, scale], scope, graph.shape_of(query))
    query = graph.node(
        "Transpose", [query], scope, ("batch", heads, "tokens", head_dim), perm=[0, 2, 1, 3]
    )
    query = reshape(query, [0, groups, -1, head_dim], grouped)
    turned = graph.node(
        "Transpose", [keys], scope, ("batch", groups, head_dim, "cache_length"), perm=[0, 1, 3, 2]
    )
    scores = graph.node("MatMul", [query, turned], scope, (*grouped[:3], "cache_length"))
    scores = reshape(scores, [0, heads, -1, 0], all_scores)
    scores = graph.node("Add", [scores, masks.bias], scope, all_scores)
    scores = graph.node("Softmax", [scores], scope, all_scores, axis=-1)
    scores = reshape(scores, [0, groups, -1, 0], (*grouped[:3], "cache_length"))
    context = graph.node("MatMul", [scores, values], scope, grouped)
    context = reshape(context, [0, heads, -1, head_dim], ("batch", heads, "tokens", head_dim))
    context = graph.node(
        "Transpose", [context], scope, ("batch", "tokens", heads, head_dim), perm=[0, 2, 1, 3]
    )
    context = reshape(context, [-1, model.query_size], ("all_tokens", model.query_size))
    return context, keys, values
