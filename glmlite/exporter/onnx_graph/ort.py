"""Flavor `ort`: the GLM network in ONNX Runtime's fused operators, one file for every phase.

Its cache is written in place. With GroupQueryAttention the operator's limits are the graph's (see
docs/graph-contract.md): with several rows and several tokens, all rows begin an empty cache; the
slots behind a chunk's valid tokens get finite garbage; P + position + T must not exceed S.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from glmlite.exporter.onnx_graph.builder import MICROSOFT, GraphBuilder, Shape
from glmlite.exporter.onnx_graph.explicit import STEP, Masks, attend, make_masks
from glmlite.exporter.onnx_graph.grouped import GroupedStep, attend_grouped, prepare_grouped
from glmlite.exporter.onnx_graph.linear import Products, embedding, linear
from glmlite.exporter.onnx_graph.norm import add_and_norm, rms_norm
from glmlite.exporter.onnx_graph.rotary import add_tables
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import EMBEDDING, FINAL_NORM, OUTPUT, layer_prefix

OPSET = 17
IR_VERSION = 8


@dataclasses.dataclass(frozen=True)
class Step:
    """What all layers of one step share.

    Attributes:
        wanted: int32 [batch, rows], tokens of the flattened batch whose logits are wanted.
        lengths: int32 [batch], slots filled after the step, less one.
        longest: int32 scalar, the largest number of filled slots.
        cos: float32 [S, rotary_dim / 2], by cache slot. sin: the same.
        masks: for heads of a size that GroupQueryAttention does not take, and none of the above.
        grouped: for attention as products of matrices, and none of the above but `wanted`.
    """

    wanted: str
    lengths: str = ""
    longest: str = ""
    cos: str = ""
    sin: str = ""
    masks: Masks | None = None
    grouped: GroupedStep | None = None


def build_ort(
    graph: GraphBuilder,
    model: ModelConfig,
    products: Products,
    cache_length: int,
    prefix_length: int,
    *,
    grouped: bool = False,
) -> None:
    """Put the whole network into an empty graph.

    Args:
        graph: of opset `OPSET`.
        model: sizes.
        products: of matrices.
        cache_length: rows of the rotary table, the largest S.
        prefix_length: P.
        grouped: attention is made for steps of few tokens far into a context; see `grouped`.
    """
    ids = graph.input("input_ids", ("batch", "tokens"))
    position = graph.input("position", ("batch",))
    valid = graph.input("valid_length", ("batch",))
    cache: Shape = ("batch", model.num_groups, "cache_length", model.head_dim)
    past = [
        (
            graph.input(f"past.{i}.key", cache, np.float32),
            graph.input(f"past.{i}.value", cache, np.float32),
        )
        for i in range(model.num_layers)
    ]
    everything = graph.optional_input("all_logits", np.array(0, np.int32))

    inputs = (ids, position, valid)
    step = _prepare(graph, model, inputs, everything, cache_length, prefix_length, grouped)
    x = embedding(graph, products, ids, EMBEDDING, "/embedding")
    name = layer_prefix(0) + "input_layernorm.weight"
    normed = rms_norm(graph, x, name, model.norm_eps, "/layers.0/input_layernorm")
    present = []
    for i in range(model.num_layers):
        prefix, scope = layer_prefix(i), f"/layers.{i}"
        last = i + 1 == model.num_layers
        attended, key, value = _attend(graph, model, products, normed, past[i], step, i)
        present += [key, value]
        if last:  # what follows is for the wanted rows alone
            attended = _pick(graph, attended, model.query_size, step.wanted)
            x = _pick(graph, x, model.hidden_size, step.wanted)
        attended = linear(
            graph,
            products,
            attended,
            prefix + "self_attention.dense.weight",
            f"{scope}/self_attention/dense",
        )
        normed, x = add_and_norm(
            graph,
            attended,
            x,
            prefix + "post_attention_layernorm.weight",
            model.norm_eps,
            f"{scope}/post_attention_layernorm",
        )
        down = _mlp(graph, model, products, normed, i)
        name = FINAL_NORM if last else layer_prefix(i + 1) + "input_layernorm.weight"
        place = "/final_layernorm" if last else f"/layers.{i + 1}/input_layernorm"
        normed, x = add_and_norm(graph, down, x, name, model.norm_eps, place)
    graph.output("logits", linear(graph, products, normed, OUTPUT, "/output_layer"))
    for i in range(model.num_layers):
        graph.output(f"present.{i}.key", present[2 * i])
        graph.output(f"present.{i}.value", present[2 * i + 1])


def takes_heads(model: ModelConfig) -> bool:
    """Whether GroupQueryAttention computes, and rotates, heads of this size."""
    return model.head_dim % 32 == 0


def _prepare(
    graph: GraphBuilder,
    model: ModelConfig,
    inputs: tuple[str, str, str],
    everything: str,
    cache_length: int,
    prefix_length: int,
    grouped: bool,
) -> Step:
    """Lengths, rotary tables and wanted rows of a step."""
    ids, position, valid = inputs
    batch: Shape = ("batch",)

    def integers(op: str, a: str, b: str, shape: Shape = batch) -> str:
        return graph.node(op, [a, b], STEP, shape, np.int32)

    def size(tensor: str, axis: int) -> str:
        found = graph.node("Shape", [tensor], STEP, (1,), np.int64, start=axis, end=axis + 1)
        return graph.cast(graph.node("Squeeze", [found], STEP, (), np.int64), np.int32, STEP)

    zero, one = graph.scalar(0), graph.scalar(1)
    rows, tokens = size(ids, 0), size(ids, 1)

    # Row b wants its tokens first[b] … first[b] + count - 1: all of them, or the last valid one.
    others = integers("Mul", everything, integers("Sub", tokens, one, ()), ())
    count = integers("Add", one, others, ())
    last = integers("Sub", integers("Max", valid, one), one)
    first = integers("Mul", last, integers("Sub", one, everything, ()))
    row = graph.node("Range", [zero, rows, one], STEP, batch, np.int32)
    start = integers("Add", integers("Mul", row, tokens), first)
    start = graph.node("Unsqueeze", [start, graph.integers([1])], STEP, ("batch", 1), np.int32)
    offsets = graph.node("Range", [zero, count, one], STEP, ("rows",), np.int32)
    wanted = integers("Add", start, offsets, ("batch", "rows"))

    if not takes_heads(model):
        return Step(wanted, masks=make_masks(graph, model, inputs, cache_length, prefix_length))
    if grouped:
        shared = prepare_grouped(graph, model, inputs, cache_length, prefix_length)
        return Step(wanted, grouped=shared)
    begin = position
    if prefix_length:
        begin = integers("Add", position, graph.scalar(prefix_length))
    # Never past the end, whatever is fed: GroupQueryAttention does not check where it writes.
    filled = integers("Min", integers("Add", begin, tokens), size("past.0.key", 2))
    lengths = integers("Sub", filled, one)
    longest = graph.node("ReduceMax", [filled], STEP, (), np.int32, keepdims=0)
    cos, sin = add_tables(graph, model, cache_length, prefix_length)
    return Step(wanted, lengths, longest, cos, sin)


def _attend(
    graph: GraphBuilder,
    model: ModelConfig,
    products: Products,
    x: str,
    past: tuple[str, str],
    step: Step,
    layer: int,
) -> tuple[str, str, str]:
    """Attention up to its output projection: [batch, tokens, query_size], and the new cache."""
    prefix, scope = layer_prefix(layer) + "self_attention.", f"/layers.{layer}/self_attention"
    bias = prefix + "query_key_value.bias" if model.qkv_bias else None
    place = f"{scope}/query_key_value"
    mixed = linear(graph, products, x, prefix + "query_key_value.weight", place, bias)
    if step.masks is not None:
        context, key, value = attend(graph, model, mixed, past, step.masks, scope)
        width = graph.integers([model.query_size])
        to = graph.node("Concat", [step.masks.tokens, width], scope, (3,), np.int64, axis=0)
        shape = ("batch", "tokens", model.query_size)
        return graph.node("Reshape", [context, to], scope, shape), key, value
    if step.grouped is not None:
        return attend_grouped(graph, model, mixed, past, step.grouped, scope)
    cache = graph.shape_of(past[0])
    context, key, value = graph.nodes(
        "GroupQueryAttention",
        [mixed, "", "", *past, step.lengths, step.longest, step.cos, step.sin],
        scope,
        {0: ("batch", "tokens", model.query_size), 1: cache, 2: cache},
        domain=MICROSOFT,
        num_heads=model.num_heads,
        kv_num_heads=model.num_groups,
        do_rotary=1,
        rotary_interleaved=1,
    )
    return context, key, value


def _pick(graph: GraphBuilder, x: str, width: int, wanted: str) -> str:
    """Rows `wanted` [batch, rows] of the flattened [batch, tokens, width]: [batch, rows, width]."""
    scope = "/wanted"
    flat = graph.node("Reshape", [x, graph.integers([-1, width])], scope, ("all_tokens", width))
    return graph.node("Gather", [flat, wanted], scope, ("batch", "rows", width), axis=0)


def _mlp(graph: GraphBuilder, model: ModelConfig, products: Products, x: str, layer: int) -> str:
    """silu(gate) · up, projected down (SwiGLU, arXiv 2002.05202)."""
    prefix, scope = layer_prefix(layer) + "mlp.", f"/layers.{layer}/mlp"
    place = f"{scope}/dense_h_to_4h"
    mixed = linear(graph, products, x, prefix + "dense_h_to_4h.weight", place)
    shape = (*graph.shape_of(x)[:-1], model.ffn_hidden_size)
    gate, up = graph.nodes("Split", [mixed], scope, {0: shape, 1: shape}, axis=-1)
    # QuickGelu with alpha 1 is SiLU.
    gate = graph.node("QuickGelu", [gate], scope, shape, domain=MICROSOFT, alpha=1.0)
    gated = graph.node("Mul", [gate, up], scope, shape)
    place = f"{scope}/dense_4h_to_h"
    return linear(graph, products, gated, prefix + "dense_4h_to_h.weight", place)
