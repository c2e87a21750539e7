"""The ChatGLM2/3 network in plain NumPy: the oracle that every exported graph is held against.

Everything is float32, rotation angles float64. Layers stream through memory one at a time, so a 6B
model fits a laptop. `layer.py` has the arithmetic.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from glmlite.errors import CheckpointError
from glmlite.model.config import ModelConfig
from glmlite.model.layer import (
    DENSE,
    DOWN,
    QKV,
    UP,
    Float32Array,
    LayerWeights,
    Observer,
    Row,
    layer_forward,
    observed,
    rms_norm,
    rotation,
)
from glmlite.model.parameters import EMBEDDING, FINAL_NORM, OUTPUT, layer_prefix
from glmlite.progress import NoProgress, Progress

if TYPE_CHECKING:
    from glmlite.checkpoint.source import WeightSource

__all__ = [
    "LayerWeights",
    "Observer",
    "Passage",
    "Row",
    "forward",
    "hidden_states",
    "layer_forward",
    "output_input",
    "read_layer",
    "read_weight",
    "rms_norm",
    "rotation",
]

WeightDtype = Literal["float32", "float16"]

# Of the output layer, the largest matrix, so many are made float32 at a time.
_OUTPUT_ROWS = 8192


def read_weight(
    source: WeightSource, name: str, weight_dtype: WeightDtype = "float32"
) -> Float32Array:
    """One parameter as float32, rounded to `weight_dtype` before.

    Raises:
        CheckpointError: unreadable, or too large for float16.
    """
    return _as_float32(name, source.read(name), weight_dtype)


def _as_float32(name: str, weight: NDArray[Any], weight_dtype: WeightDtype) -> Float32Array:
    """A parameter, or some of its rows; see `read_weight`."""
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
    hidden = _as_float32(EMBEDDING, source.read(EMBEDDING)[passage.ids], weight_dtype)
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
    weight = source.read(OUTPUT)
    logits = np.empty((len(hidden), len(weight)), np.float32)
    for start in range(0, len(weight), _OUTPUT_ROWS):
        rows = slice(start, start + _OUTPUT_ROWS)
        logits[:, rows] = hidden @ _as_float32(OUTPUT, weight[rows], weight_dtype).T
    return np.split(logits, np.cumsum([len(sequence) for sequence in sequences])[:-1])
