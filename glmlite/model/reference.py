"""The ChatGLM2/3 network in plain NumPy: the oracle that every exported graph is held against.

Source: the official `modeling_chatglm.py` of ChatGLM2-6B and ChatGLM3-6B. Everything is float32,
rotation angles float64. Rows of a batch lie one after the other in one [tokens, hidden] array, so
there is no padding; only attention looks at rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from glmlite.errors import CheckpointError
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import EMBEDDING, FINAL_NORM, OUTPUT, layer_prefix
from glmlite.progress import NoProgress, Progress

if TYPE_CHECKING:
    from glmlite.checkpoint.source import WeightSource

Float32Array = NDArray[np.float32]
WeightDtype = Literal["float32", "float16"]
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


def read_weight(
    source: WeightSource, name: str, weight_dtype: WeightDtype = "float32"
) -> Float32Array:
    """One parameter as float32, rounded to `weight_dtype` before.

    Raises:
        CheckpointError: unreadable, or too large for float16.
    """
    weight = source.read(name)
    if weight_dtype == "float16" and weight.dtype != np.float16:
        with np.errstate(over="ignore"):
            weight = weight.astype(np.float16)
        if not np.isfinite(weight).all():
            raise CheckpointError(
                "Tensor {name} holds values beyond 65504, the largest float16.",
                hint="Export in float32: --set model.dtype=float32",
                name=name,
            )
    return weight.astype(np.float32, copy=False)


def read_layer(
    config: ModelConfig, source: WeightSource, layer: int, weight_dtype: WeightDtype = "float32"
) -> LayerWeights:
    """All parameters of one layer; see `read_weight`."""

    def read(name: str) -> Float32Array:
        return read_weight(source, layer_prefix(layer) + name, weight_dtype)

    return LayerWeights(
        input_norm=read("input_layernorm.weight"),
        qkv=read(QKV),
        qkv_bias=read("self_attention.query_key_value.bias") if config.qkv_bias else None,
        dense=read(DENSE),
        post_norm=read("post_attention_layernorm.weight"),
        up=read(UP),
        down=read(DOWN),
    )


@dataclasses.dataclass(frozen=True)
class Passage:
    """Whole sequences from position 0, and what every layer has to know of them.

    Attributes:
        config: the model.
        ids: int64 [tokens], the sequences one after the other.
        lengths: of the sequences; some may be 0.
        angles: of every token, see `rotation`.
        prefix: P-Tuning keys and values per layer, [groups, P, head_dim]; None for none.
    """

    config: ModelConfig
    ids: NDArray[np.int64]
    lengths: tuple[int, ...]
    angles: tuple[Float32Array, Float32Array]
    prefix: Sequence[tuple[Float32Array, Float32Array]] | None

    @classmethod
    def of(
        cls,
        config: ModelConfig,
        sequences: Sequence[Sequence[int]],
        prefix: Sequence[tuple[Float32Array, Float32Array]] | None = None,
    ) -> Passage:
        """Put sequences together.

        Raises:
            ValueError: there is no token, or one outside the vocabulary.
        """
        ids = np.concatenate([np.asarray(sequence, np.int64) for sequence in sequences])
        if len(ids) == 0 or ids.min() < 0 or ids.max() >= config.vocab_size:
            raise ValueError("token ids must lie in the vocabulary, and there must be some")
        lengths = tuple(len(sequence) for sequence in sequences)
        angles = rotation(config, np.concatenate([np.arange(n) for n in lengths]))
        return cls(config, ids, lengths, angles, prefix)

    def layer(
        self,
        layer: int,
        weights: LayerWeights,
        hidden: Float32Array,
        observe: Observer | None = None,
    ) -> Float32Array:
        """One layer over all sequences, [tokens, hidden_size]; `hidden` is left as it is.

        `observe` gets what enters each of its matrices, under the matrix' Hugging Face name.
        """
        config = self.config
        prefix_length = self.prefix[layer][0].shape[1] if self.prefix else 0
        rows, end = [], 0
        for n in self.lengths:
            start, end = end, end + n
            if n == 0:
                continue
            shape = (config.num_groups, prefix_length + n, config.head_dim)
            row = Row(slice(start, end), np.empty(shape, np.float32), np.empty(shape, np.float32))
            if self.prefix:
                row.keys[:, :prefix_length], row.values[:, :prefix_length] = self.prefix[layer]
            rows.append(row)
        if observe is None:
            return layer_forward(config, weights, hidden, self.angles, rows)
        whole, at = observe, layer_prefix(layer)
        return layer_forward(
            config, weights, hidden, self.angles, rows, lambda name, x: whole(at + name, x)
        )


def hidden_states(
    config: ModelConfig,
    source: WeightSource,
    sequences: Sequence[Sequence[int]],
    *,
    prefix: Sequence[tuple[Float32Array, Float32Array]] | None = None,
    weight_dtype: WeightDtype = "float32",
    observe: Observer | None = None,
) -> Iterator[Float32Array]:
    """Whole sequences from position 0: the embedding, then the output of every layer.

    `observe` gets what enters each matrix of the layers, under its Hugging Face name.

    Yields:
        num_layers + 1 float32 [tokens, hidden_size] arrays, the sequences one after the other.
    """
    passage = Passage.of(config, sequences, prefix)
    hidden = read_weight(source, EMBEDDING, weight_dtype)[passage.ids]
    yield hidden
    for layer in range(config.num_layers):
        weights = read_layer(config, source, layer, weight_dtype)
        hidden = passage.layer(layer, weights, hidden, observe)
        yield hidden


def output_input(
    config: ModelConfig,
    source: WeightSource,
    hidden: Float32Array,
    *,
    weight_dtype: WeightDtype = "float32",
    observe: Observer | None = None,
) -> Float32Array:
    """What enters the output layer: the last layer's output, normalized; [tokens, hidden_size]."""
    norm = read_weight(source, FINAL_NORM, weight_dtype)
    return observed(observe, OUTPUT, rms_norm(hidden, norm, config.norm_eps))


def forward(
    config: ModelConfig,
    source: WeightSource,
    sequences: Sequence[Sequence[int]],
    *,
    prefix: Sequence[tuple[Float32Array, Float32Array]] | None = None,
    weight_dtype: WeightDtype = "float32",
    progress: Progress | None = None,
) -> list[Float32Array]:
    """Logits of whole sequences, all together, with one layer's weights in memory at a time.

    Args:
        config: the model.
        source: its weights.
        sequences: token ids; each starts at position 0 of a cache of its own.
        prefix: P-Tuning keys and values per layer, [groups, P, head_dim]; see `read_prefix`.
        weight_dtype: "float16" rounds every parameter to it first, as an fp16 export does;
            computation stays float32.
        progress: advances by one per layer.

    Returns:
        Per sequence float32 [len, vocab_size].
    """
    progress = progress or NoProgress()
    states = hidden_states(config, source, sequences, prefix=prefix, weight_dtype=weight_dtype)
    hidden = next(states)
    for hidden in states:  # noqa: B007 - the last one is what counts
        progress.advance()
    hidden = output_input(config, source, hidden, weight_dtype=weight_dtype)
    logits = hidden @ read_weight(source, OUTPUT, weight_dtype).T
    return np.split(logits, np.cumsum([len(sequence) for sequence in sequences])[:-1])
