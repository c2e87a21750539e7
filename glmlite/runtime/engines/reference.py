"""The engine `reference`: the NumPy oracle behind the engine contract, with an explicit cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from glmlite.errors import EngineError
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import EMBEDDING, FINAL_NORM, OUTPUT, parameter_shapes
from glmlite.model.reference import (
    LayerWeights,
    Row,
    WeightDtype,
    layer_forward,
    read_layer,
    read_weight,
    rms_norm,
    rotation,
)
from glmlite.runtime.engines.base import Cache, EngineSpec, Float32Array, Int32Array
from glmlite.runtime.engines.checks import closed

if TYPE_CHECKING:
    from glmlite.checkpoint.source import WeightSource

KEEP_LIMIT_BYTES = 4 << 30


class ReferenceCache(Cache):
    """Float32 [layers, B, groups, S, head_dim] keys and values; unused slots are zero."""

    def __init__(self, keys: Float32Array, values: Float32Array) -> None:
        self.keys = keys
        self.values = values


class ReferenceEngine:
    """Runs any chunk length; exact, readable and slow.

    Args:
        config: the model.
        source: its weights.
        prefix: P-Tuning keys and values per layer, float32 [groups, P, head_dim].
        batch_size: B.
        cache_length: S, slots of a cache, the prefix included.
        weight_dtype: "float16" rounds the weights as an fp16 export does.
        keep_limit: bytes of float32 weights up to which they stay in memory; larger models are
            read anew in every step.
    """

    def __init__(
        self,
        config: ModelConfig,
        source: WeightSource,
        prefix: Sequence[tuple[Float32Array, Float32Array]] | None = None,
        batch_size: int = 1,
        cache_length: int = 2048,
        *,
        weight_dtype: WeightDtype = "float32",
        keep_limit: int = KEEP_LIMIT_BYTES,
    ) -> None:
        self._config = config
        self._source: WeightSource | None = source
        self._weight_dtype = weight_dtype
        self._prefix = list(prefix or ())
        self._prefix_length = self._check_prefix()
        if cache_length <= self._prefix_length:
            raise EngineError(
                "A cache of {slots} slots leaves no room beside a prefix of {prefix}.",
                slots=cache_length,
                prefix=self._prefix_length,
            )
        self._cache_length = cache_length
        self._spec = EngineSpec(
            name="reference",
            vocab_size=config.vocab_size,
            batch_size=batch_size,
            chunk_sizes=(0,),
            score_sizes=(0,),
            capacity=cache_length - self._prefix_length,
        )
        self._tensors: dict[str, Float32Array] = {}
        self._layers: dict[int, LayerWeights] = {}
        self._keep = 4 * sum(map(math.prod, parameter_shapes(config).values())) <= keep_limit

    @property
    def spec(self) -> EngineSpec:
        """See `Engine.spec`."""
        return self._spec

    def new_cache(self) -> ReferenceCache:
        """See `Engine.new_cache`."""
        self._open_source()
        config = self._config
        shape = (
            config.num_layers,
            self._spec.batch_size,
            config.num_groups,
            self._cache_length,
            config.head_dim,
        )
        cache = ReferenceCache(np.zeros(shape, np.float32), np.zeros(shape, np.float32))
        for layer, (keys, values) in enumerate(self._prefix):
            cache.keys[layer, :, :, : self._prefix_length] = keys
            cache.values[layer, :, :, : self._prefix_length] = values
        return cache

    def step(
        self, input_ids: Int32Array, position: Int32Array, valid_length: Int32Array, cache: Cache
    ) -> Float32Array:
        """See `Engine.step`; idle rows get zeros."""
        hidden = self._forward(input_ids, position, valid_length, cache)
        logits = np.zeros((self._spec.batch_size, self._spec.vocab_size), np.float32)
        active = np.flatnonzero(valid_length)
        if len(active):
            last = np.cumsum(valid_length)[active] - 1
            logits[active] = self._logits(hidden[last])
        return logits

    def score(
        self, input_ids: Int32Array, position: Int32Array, valid_length: Int32Array, cache: Cache
    ) -> Float32Array:
        """See `Engine.score`; padding gets zeros."""
        hidden = self._forward(input_ids, position, valid_length, cache)
        logits = np.zeros((*input_ids.shape, self._spec.vocab_size), np.float32)
        if len(hidden):
            logits[_valid(input_ids, valid_length)] = self._logits(hidden)
        return logits

    def close(self) -> None:
        """See `Engine.close`."""
        self._source = None
        self._tensors.clear()
        self._layers.clear()

    def _forward(
        self, input_ids: Int32Array, position: Int32Array, valid_length: Int32Array, cache: Cache
    ) -> Float32Array:
        """Hidden states [sum(valid_length), hidden_size] before the final norm."""
        config = self._config
        own = self._check_step(input_ids, position, valid_length, cache)
        hidden = self._weight(EMBEDDING)[input_ids[_valid(input_ids, valid_length)]]
        ends = np.cumsum(valid_length).tolist()
        active = [row for row, n in enumerate(valid_length) if n]
        if not active:
            return hidden
        angles = rotation(
            config,
            np.concatenate([position[row] + np.arange(valid_length[row]) for row in active]),
        )
        filled = (self._prefix_length + position + valid_length).tolist()
        for layer in range(config.num_layers):
            rows = [
                Row(
                    slice(ends[row] - int(valid_length[row]), ends[row]),
                    own.keys[layer, row, :, : filled[row]],
                    own.values[layer, row, :, : filled[row]],
                )
                for row in active
            ]
            hidden = layer_forward(config, self._layer(layer), hidden, angles, rows)
        return hidden

    def _logits(self, hidden: Float32Array) -> Float32Array:
        normed = rms_norm(hidden, self._weight(FINAL_NORM), self._config.norm_eps)
        logits: Float32Array = normed @ self._weight(OUTPUT).T
        return logits

    def _weight(self, name: str) -> Float32Array:
        if name in self._tensors:
            return self._tensors[name]
        weight = read_weight(self._open_source(), name, self._weight_dtype)
        if self._keep:
            self._tensors[name] = weight
        return weight

    def _layer(self, layer: int) -> LayerWeights:
        if layer in self._layers:
            return self._layers[layer]
        weights = read_layer(self._config, self._open_source(), layer, self._weight_dtype)
        if self._keep:
            self._layers[layer] = weights
        return weights

    def _open_source(self) -> WeightSource:
        if self._source is None:
            raise closed()
        return self._source

    def _check_prefix(self) -> int:
        if not self._prefix:
            return 0
        config = self._config
        length = int(self._prefix[0][0].shape[1])
        expected = (config.num_groups, length, config.head_dim)
        shapes = {array.shape for pair in self._prefix for array in pair}
        if len(self._prefix) != config.num_layers or shapes != {expected}:
            raise EngineError(
                "The prefix has {layers} layers of shapes {shapes}; the model needs {expected} "
                "in each of {needed}.",
                layers=len(self._prefix),
                shapes=sorted(shapes),
                expected=expected,
                needed=config.num_layers,
            )
        return length

    def _check_step(
        self, input_ids: Int32Array, position: Int32Array, valid_length: Int32Array, cache: Cache
    ) -> ReferenceCache:
        self._open_source()
        batch = self._spec.batch_size
        if not isinstance(cache, ReferenceCache):
            raise EngineError("The cache was made by another engine.")
        if (
            input_ids.ndim != 2
            or input_ids.shape[0] != batch
            or position.shape != (batch,)
            or valid_length.shape != (batch,)
        ):
            raise EngineError(
                "A step of batch size {batch} got input_ids {ids}, position {position} and "
                "valid_length {valid}.",
                batch=batch,
                ids=input_ids.shape,
                position=position.shape,
                valid=valid_length.shape,
            )
        for row in range(batch):
            begin, n = int(position[row]), int(valid_length[row])
            if begin < 0 or not 0 <= n <= input_ids.shape[1] or begin + n > self._spec.capacity:
                raise EngineError(
                    "Row {row} cannot take {n} tokens of {chunk} at position {position}; the cache "
                    "holds {capacity}.",
                    row=row,
                    n=n,
                    chunk=input_ids.shape[1],
                    position=begin,
                    capacity=self._spec.capacity,
                )
        used = input_ids[_valid(input_ids, valid_length)]
        if used.size and (used.min() < 0 or used.max() >= self._spec.vocab_size):
            raise EngineError(
                "Token ids must lie in 0..{last}; the chunk holds {smallest}..{largest}.",
                last=self._spec.vocab_size - 1,
                smallest=int(used.min()),
                largest=int(used.max()),
            )
        return cache


def _valid(input_ids: Int32Array, valid_length: Int32Array) -> NDArray[np.bool_]:
    """Which of the [B, T] ids are no padding."""
    return np.arange(input_ids.shape[1]) < valid_length[:, None]
