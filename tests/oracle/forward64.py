"""ChatGLM2/3 written down as plainly as possible, in float64: what all else is tested against.

It shares no code with glmlite, keeps no cache and knows no batch; attention is a loop over heads
and tokens. Source: the official `modeling_chatglm.py`: the rows of query_key_value are all queries,
then all keys, then all values; head h reads group h // (heads / groups); the first half of a head's
channels is rotated in adjacent pairs; the first half of dense_h_to_4h is the gate.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Prefix = Sequence[tuple[NDArray[Any], NDArray[Any]]]
# Matrix name -> (scale, A [r, in], B [out, r]) of the LoRA terms beside it.
LowRank = Mapping[str, Sequence[tuple[float, NDArray[Any], NDArray[Any]]]]


@dataclasses.dataclass(frozen=True)
class Rope:
    """Rotary settings. `linear` divides positions by `ratio`, `base` multiplies 10000 by it."""

    kind: str = "standard"
    ratio: float = 1.0

    def angles(self, position: int, channels: int) -> Array:
        """Rotation angles [channels / 2] of the pairs at one position, in radians."""
        base, scaled = 10000.0, float(position)
        if self.kind == "linear":
            scaled = position / self.ratio
        elif self.kind == "base":
            base = 10000.0 * self.ratio
        elif self.kind != "standard":
            raise ValueError(self.kind)
        return np.array([scaled / base ** (2 * i / channels) for i in range(channels // 2)])


@dataclasses.dataclass(frozen=True)
class Forward:
    """Everything that one pass computed.

    Attributes:
        logits: [T, V].
        hidden_states: layers + 1 arrays [T, hidden]; the first is the embedding.
        final_hidden: [T, hidden], after the final norm.
        keys, values: per layer [T, groups, head_dim]; keys after rotation, without the prefix.
        inputs: what was multiplied with each matrix, [T, in], by the matrix' name.
    """

    logits: Array
    hidden_states: list[Array]
    final_hidden: Array
    keys: list[Array]
    values: list[Array]
    inputs: dict[str, Array]


def rms_norm(x: Array, weight: Array, eps: float) -> Array:
    """x / sqrt(mean(x²) + eps) · weight, row by row."""
    return np.stack([row / math.sqrt(float(np.mean(row * row)) + eps) * weight for row in x])


def rotate(head: Array, angles: Array) -> Array:
    """Turn the first `2 · len(angles)` channels of one head, pair by pair, as complex numbers."""
    turned = head.copy()
    for i, angle in enumerate(angles):
        z = complex(head[2 * i], head[2 * i + 1]) * complex(math.cos(angle), math.sin(angle))
        turned[2 * i], turned[2 * i + 1] = z.real, z.imag
    return turned


def silu(x: Array) -> Array:
    """x · sigmoid(x)."""
    return x / (1.0 + np.exp(-x))


def attend(query: Array, keys: Array, values: Array) -> Array:
    """One head of one token: query [D], keys and values [n, D] -> [D]."""
    scores = keys @ query / math.sqrt(len(query))
    weights = np.exp(scores - scores.max())
    return (weights / weights.sum()) @ values


def forward(
    tensors: Mapping[str, NDArray[Any]],
    config: Mapping[str, Any],
    ids: Sequence[int],
    *,
    rope: Rope = Rope(),
    prefix: Prefix | None = None,
    low_rank: LowRank | None = None,
) -> Forward:
    """The whole network over one sequence that begins at position 0.

    Args:
        tensors: weights under Hugging Face names, any float dtype.
        config: the official config.json.
        ids: T token ids.
        rope: rotary settings.
        prefix: per layer (keys, values) [groups, P, head_dim] that every token attends to first;
            they take no positions and are not rotated.
        low_rank: LoRA terms, computed beside the matrices and never merged into them.
    """
    weights = {name: np.asarray(tensor, np.float64) for name, tensor in tensors.items()}
    heads, dim = config["num_attention_heads"], config["kv_channels"]
    groups = config["multi_query_group_num"] if config["multi_query_attention"] else heads
    eps, tokens = config["layernorm_epsilon"], len(ids)
    inputs: dict[str, Array] = {}

    def linear(rows: Array, name: str) -> Array:
        inputs[name] = rows
        result = rows @ weights[name].T
        for scale, a, b in (low_rank or {}).get(name, ()):
            result = result + scale * ((rows @ a.T.astype(np.float64)) @ b.T.astype(np.float64))
        return result

    x = np.stack([weights["transformer.embedding.word_embeddings.weight"][i] for i in ids])
    hidden_states, all_keys, all_values = [x], [], []
    for layer in range(config["num_layers"]):

        def of(name: str, layer: int = layer) -> Array:
            return weights[f"transformer.encoder.layers.{layer}.{name}"]

        def times(rows: Array, name: str, layer: int = layer) -> Array:
            return linear(rows, f"transformer.encoder.layers.{layer}.{name}")

        normed = rms_norm(x, of("input_layernorm.weight"), eps)
        qkv = times(normed, "self_attention.query_key_value.weight")
        if config["add_qkv_bias"]:
            qkv = qkv + of("self_attention.query_key_value.bias")
        queries = qkv[:, : heads * dim].reshape(tokens, heads, dim)
        keys = qkv[:, heads * dim : (heads + groups) * dim].reshape(tokens, groups, dim)
        values = qkv[:, (heads + groups) * dim :].reshape(tokens, groups, dim)
        for t in range(tokens):
            angles = rope.angles(t, dim // 2)
            queries[t] = [rotate(head, angles) for head in queries[t]]
            keys[t] = [rotate(head, angles) for head in keys[t]]

        context = np.zeros((tokens, heads, dim))
        for head in range(heads):
            group = head // (heads // groups)
            head_keys, head_values, before = keys[:, group], values[:, group], 0
            if prefix is not None:
                head_keys = np.concatenate([prefix[layer][0][group], head_keys])
                head_values = np.concatenate([prefix[layer][1][group], head_values])
                before = prefix[layer][0].shape[1]
            for t in range(tokens):
                seen = before + t + 1
                context[t, head] = attend(queries[t, head], head_keys[:seen], head_values[:seen])
        x = x + times(context.reshape(tokens, heads * dim), "self_attention.dense.weight")

        normed = rms_norm(x, of("post_attention_layernorm.weight"), eps)
        both = times(normed, "mlp.dense_h_to_4h.weight")
        half = both.shape[1] // 2
        x = x + times(silu(both[:, :half]) * both[:, half:], "mlp.dense_4h_to_h.weight")
        hidden_states.append(x)
        all_keys.append(keys)
        all_values.append(values)

    final = rms_norm(x, weights["transformer.encoder.final_layernorm.weight"], eps)
    logits = linear(final, "transformer.output_layer.weight")
    return Forward(logits, hidden_states, final, all_keys, all_values, inputs)


def greedy(
    tensors: Mapping[str, NDArray[Any]],
    config: Mapping[str, Any],
    ids: Sequence[int],
    steps: int,
    *,
    rope: Rope = Rope(),
    prefix: Prefix | None = None,
) -> list[int]:
    """Continue `ids` by `steps` tokens, each the argmax of a whole new pass; no token stops it."""
    known = list(ids)
    for _ in range(steps):
        logits = forward(tensors, config, known, rope=rope, prefix=prefix).logits
        known.append(int(logits[-1].argmax()))
    return known[len(ids) :]


def margins(logits: Array) -> Array:
    """How far the largest logit of each row lies above the second: [T]."""
    ordered = np.sort(logits, axis=-1)
    return ordered[:, -1] - ordered[:, -2]
