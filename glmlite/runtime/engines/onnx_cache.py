"""Caches of the engine `onnx`: NumPy arrays that are bound to graphs without copies."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import mmap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from glmlite.runtime.engines.base import Cache, Float32Array
from glmlite.runtime.engines.interrupts import interrupt_deferred

# First cache length where attention costs O(S) a step, and by how much it grows at least.
FIRST_LENGTH = 256


@dataclasses.dataclass(frozen=True)
class CacheShape:
    """What all caches of one engine have in common.

    Attributes:
        batch_size: B. num_layers: L. num_heads: of queries. num_groups: G. head_dim: D.
        cache_length: the largest S.
        in_place: graphs write into the arrays that they read; otherwise into a second set.
        growing: some graph's attention costs what S is, so S follows what the cache holds.
        prefix: keys and values [G, P, D] of each layer's prefix.
    """

    batch_size: int
    num_layers: int
    num_heads: int
    num_groups: int
    head_dim: int
    cache_length: int
    in_place: bool
    growing: bool
    prefix: Sequence[tuple[Float32Array, Float32Array]]

    @property
    def prefix_length(self) -> int:
        """P."""
        return self.prefix[0][0].shape[1] if self.prefix else 0


class OnnxCache(Cache):
    """Keys and values of B rows: keys, values, keys, … of L layers, float32 [B, G, S, D] each.

    Fresh memory is zeros that nobody has touched: slots take up memory when they are first used.

    Attributes:
        shape: of all caches of the engine.
        current: what the cache holds.
        other: where the next step's result goes; the same arrays if graphs write in place.
        bindings: (graph, rows, whether `current` is the second set) -> its `Binding`; emptied
            when the arrays change.
    """

    def __init__(self, shape: CacheShape) -> None:
        self.shape = shape
        self.bindings: dict[tuple[str, int, int, bool], Any] = {}
        self.turned = False
        length = shape.cache_length
        if shape.growing:
            length = min(length, _rounded(FIRST_LENGTH + shape.prefix_length))
        self._allocate(length)
        for layer, pair in enumerate(shape.prefix):
            for part, values in enumerate(pair):
                self.current[2 * layer + part][:, :, : shape.prefix_length] = values

    def _allocate(self, length: int) -> None:
        current = self._zeros(length)
        other = current if self.shape.in_place else self._zeros(length)
        self.current, self.other = current, other

    def _zeros(self, length: int) -> list[Float32Array]:
        s = self.shape
        sizes = (s.batch_size, s.num_groups, length, s.head_dim)
        return [_fresh(sizes) for _ in range(2 * s.num_layers)]

    @property
    def length(self) -> int:
        """S as it is now."""
        return int(self.current[0].shape[2])

    def grow(self, slots: int) -> None:
        """Make room for so many slots (prefix included; at most the largest S).

        Raises:
            MemoryError: there is none; the cache is as it was.
        """
        if slots <= self.length:
            return
        # An eighth more than needed: little to attend to in vain, and few moves.
        length = min(_rounded(slots + slots // 8), self.shape.cache_length)
        with interrupt_deferred(insistent=False):
            old, used = self.current, self.length
            self._allocate(length)
            self.bindings.clear()
            # One after the other, so that never both copies of all layers are in memory.
            for array in reversed(self.current):
                array[:, :, :used] = old.pop()

    @contextlib.contextmanager
    def kept(self, rows: Sequence[int]) -> Iterator[None]:
        """Put back what a step at position 0 writes into these rows, which should only idle."""
        slot = self.shape.prefix_length
        before = [array[rows, :, slot] for array in self.current]
        try:
            yield
        finally:
            for array, values in zip(self.current, before, strict=True):
                array[rows, :, slot] = values

    def turn(self) -> None:
        """Take the result of a step that did not write in place."""
        self.current, self.other, self.turned = self.other, self.current, not self.turned


def _fresh(sizes: tuple[int, ...]) -> Float32Array:
    """Zeros in pages of their own, which the system has back as soon as they are dropped.

    Raises:
        MemoryError: there is not so much.
    """
    nbytes = 4 * math.prod(sizes)
    try:
        if hasattr(mmap, "MAP_PRIVATE"):  # else a forked child would write into its parent's cache
            pages = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        else:
            pages = mmap.mmap(-1, nbytes)
    except OSError as error:
        raise MemoryError from error
    return np.frombuffer(pages, np.float32).reshape(sizes)


def _rounded(slots: int) -> int:
    """The next multiple of `FIRST_LENGTH`."""
    return -(-slots // FIRST_LENGTH) * FIRST_LENGTH
