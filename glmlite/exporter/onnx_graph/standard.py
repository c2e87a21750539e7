"""Flavor `standard`: graph contract v1 in standard operators alone, for any ONNX backend.

Opset 13 and the forms in `explicit.py` are what MindSpore Lite 2.0.0's converter reads; it converts
the dynamic graph once for each phase, with an `input_shape`.
"""

from __future__ import annotations

import numpy as np

from glmlite.exporter.onnx_graph.builder import GraphBuilder, Shape
from glmlite.exporter.onnx_graph.explicit import STEP, Masks, attend, make_masks
from glmlite.exporter.onnx_graph.linear import Products, embedding, linear
from glmlite.exporter.onnx_graph.norm import rms_norm
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import EMBEDDING, FINAL_NORM, OUTPUT, layer_prefix

OPSET = 13
IR_VERSION = 7


def build_standard(
    graph: GraphBuilder,
    model: ModelConfig,
    products: Products,
    cache_length: int,
    prefix_length: int,
    score: bool,
) -> None:
    """Put the whole network into an empty graph.

    Args:
        graph: of opset `OPSET`.
        model: sizes.
        products: of matrices.
        cache_length: the largest S.
        prefix_length: P.
        score: logits of every token, [B, T, V], instead of the last valid one's, [B, V].
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
    masks = make_masks(graph, model, (ids, position, valid), cache_length, prefix_length)

    x = embedding(graph, products, ids, EMBEDDING, "/embedding")
    flat: Shape = ("all_tokens", model.hidden_size)
    x = graph.node("Reshape", [x, graph.integers([-1, model.hidden_size])], "/embedding", flat)
    present = []
    for i in range(model.num_layers):
        prefix, scope = layer_prefix(i), f"/layers.{i}"
        name, place = prefix + "input_layernorm.weight", f"{scope}/input_layernorm"
        normed = rms_norm(graph, x, name, model.norm_eps, place)
        context, key, value = _attend(graph, model, products, normed, past[i], masks, i)
        present += [key, value]
        if i + 1 == model.num_layers and not score:  # what follows is for the last tokens alone
            last = _find_last(graph, masks, valid)
            context = _pick(graph, context, model.query_size, last, masks)
            x = _pick(graph, x, model.hidden_size, last, masks)
        name, place = prefix + "self_attention.dense.weight", f"{scope}/self_attention/dense"
        attended = linear(graph, products, context, name, place)
        x = graph.node("Add", [x, attended], f"{scope}/self_attention", graph.shape_of(x))
        name = prefix + "post_attention_layernorm.weight"
        place = f"{scope}/post_attention_layernorm"
        normed = rms_norm(graph, x, name, model.norm_eps, place)
        down = _mlp(graph, model, products, normed, i)
        x = graph.node("Add", [x, down], f"{scope}/mlp", graph.shape_of(x))
    normed = rms_norm(graph, x, FINAL_NORM, model.norm_eps, "/final_layernorm")
    logits = linear(graph, products, normed, OUTPUT, "/output_layer")
    if score:
        shape: Shape = ("batch", "tokens", model.vocab_size)
        to = _rows_of(graph, masks, model.vocab_size, "/output_layer")
        logits = graph.node("Reshape", [logits, to], "/output_layer", shape)
    graph.output("logits", logits)
    for i in range(model.num_layers):
        graph.output(f"present.{i}.key", present[2 * i])
        graph.output(f"present.{i}.value", present[2 * i + 1])


def _attend(
    graph: GraphBuilder,
    model: ModelConfig,
    products: Products,
    x: str,
    past: tuple[str, str],
    masks: Masks,
    layer: int,
) -> tuple[str, str, str]:
    prefix, scope = layer_prefix(layer) + "self_attention.", f"/layers.{layer}/self_attention"
    bias = prefix + "query_key_value.bias" if model.qkv_bias else None
    place = f"{scope}/query_key_value"
    mixed = linear(graph, products, x, prefix + "query_key_value.weight", place, bias)
    return attend(graph, model, mixed, past, masks, scope)


def _find_last(graph: GraphBuilder, masks: Masks, valid: str) -> str:
    """float32 [batch, 1, tokens], 1 at each row's last valid token; idle rows have none."""
    one = graph.integers([1], np.int32)
    last = graph.node("Sub", [valid, one], STEP, ("batch",), np.int32)
    column = graph.integers([-1, 1])
    last = graph.node("Reshape", [last, column], STEP, ("batch", 1), np.int32)
    found = graph.node("Equal", [masks.token, last], STEP, ("batch", "tokens"), np.bool_)
    found = graph.cast(found, np.float32, STEP)
    return graph.node("Unsqueeze", [found, graph.integers([1])], STEP, ("batch", 1, "tokens"))


def _pick(graph: GraphBuilder, x: str, width: int, last: str, masks: Masks) -> str:
    """The last valid tokens' rows of [batch · tokens, width]: [batch, width]."""
    scope = "/wanted"
    to = _rows_of(graph, masks, width, scope)
    rows = graph.node("Reshape", [x, to], scope, ("batch", "tokens", width))
    picked = graph.node("MatMul", [last, rows], scope, ("batch", 1, width))
    return graph.node("Reshape", [picked, graph.integers([-1, width])], scope, ("batch", width))


def _rows_of(graph: GraphBuilder, masks: Masks, width: int, scope: str) -> str:
    """The shape [batch, tokens, width]."""
    parts = [masks.tokens, graph.integers([width])]
    return graph.node("Concat", parts, scope, (3,), np.int64, axis=0)


def _mlp(graph: GraphBuilder, model: ModelConfig, products: Products, x: str, layer: int) -> str:
    """silu(gate) · up, projected down (SwiGLU, arXiv 2002.05202)."""
    prefix, scope, ffn = layer_prefix(layer) + "mlp.", f"/layers.{layer}/mlp", model.ffn_hidden_size
    place = f"{scope}/dense_h_to_4h"
    mixed = linear(graph, products, x, prefix + "dense_h_to_4h.weight", place)
    shape: Shape = (*graph.shape_of(x)[:-1], ffn)

    def half(begin: int) -> str:
        bounds = [graph.integers([k]) for k in (begin, begin + ffn, 1)]
        return graph.node("Slice", [mixed, *bounds], scope, shape)

    gate, up = half(0), half(ffn)
    gate = graph.node("Mul", [gate, graph.node("Sigmoid", [gate], scope, shape)], scope, shape)
    gated = graph.node("Mul", [gate, up], scope, shape)
    place = f"{scope}/dense_4h_to_h"
    return linear(graph, products, gated, prefix + "dense_4h_to_h.weight", place)
