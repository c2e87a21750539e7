"""The contract between a session and the backend that runs a bundle's graphs."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from glmlite.runtime.chunks import LARGEST_DYNAMIC_CHUNK

Int32Array = NDArray[np.int32]
Float32Array = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class EngineSpec:
    """What an engine can run, as a session needs to know it.

    Attributes:
        name: the engine's name, e.g. "mindspore".
        vocab_size: V, the width of the logits.
        batch_size: B, rows of a step.
        chunk_sizes: the T of the prefill and decode graphs, ascending. 0 stands in the place of
            "any": an engine without static shapes has `(0,)`.
        score_sizes: the same for score graphs; empty where the bundle has none.
        capacity: tokens that a cache can hold (the largest cache length less the prefix).
        preferred_chunk: tokens of the longest chunk to feed at once, where `chunk_sizes` say "any".
        score_tolerance: how far a row of `score` may lie from what `step` gives for the same token
            and still be the same but for the order of sums, relative to the largest logit; 0 where
            activations are rounded, for there a last bit may become a whole step.
    """

    name: str
    vocab_size: int
    batch_size: int
    chunk_sizes: tuple[int, ...]
    score_sizes: tuple[int, ...]
    capacity: int
    preferred_chunk: int = LARGEST_DYNAMIC_CHUNK
    score_tolerance: float = 1e-5


class Cache:
    """Keys and values of B rows; made by an engine, opaque to everybody else."""


class Engine(Protocol):
    """A backend that runs a bundle's graphs; owns the caches it makes."""

    @property
    def spec(self) -> EngineSpec:
        """What this engine can run."""

    def new_cache(self) -> Cache:
        """An empty cache of `spec.batch_size` rows (the prefix, if any, already in its slots)."""

    def step(
        self,
        input_ids: Int32Array,
        position: Int32Array,
        valid_length: Int32Array,
        cache: Cache,
    ) -> Float32Array:
        """Run one chunk and update `cache` in place.

        Args:
            input_ids: int32 [B, T]; T is one of `spec.chunk_sizes`.
            position: int32 [B], tokens that each row's cache already holds.
            valid_length: int32 [B], 0..T; 0 is an idle row, its cache unchanged, its logits
                undefined.
            cache: from `new_cache` of this engine.

        Returns:
            float32 [B, V], logits of each row's last valid token. The caller owns the array.

        Raises:
            EngineError: the shapes fit no graph, or the backend failed.
        """

    def score(
        self,
        input_ids: Int32Array,
        position: Int32Array,
        valid_length: Int32Array,
        cache: Cache,
    ) -> Float32Array:
        """The same as `step`, with logits for every row of the chunk: float32 [B, T, V]."""

    def close(self) -> None:
        """Free graphs, caches and processes; a second call does nothing."""
