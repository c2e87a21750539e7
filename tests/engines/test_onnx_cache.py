"""The cache of the engine `onnx` keeps what it holds, whatever happens while it grows."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from glmlite.runtime.engines import onnx_cache
from glmlite.runtime.engines.base import Float32Array
from glmlite.runtime.engines.onnx_cache import CacheShape, OnnxCache


def filled(in_place: bool) -> tuple[OnnxCache, list[Float32Array]]:
    """A cache of two layers full of numbers, and what it held."""
    shape = CacheShape(
        batch_size=1,
        num_layers=2,
        num_heads=4,
        num_groups=2,
        head_dim=8,
        cache_length=2048,
        in_place=in_place,
        growing=True,
        prefix=(),
    )
    cache = OnnxCache(shape)
    for number, array in enumerate(cache.current):
        array[:] = np.random.default_rng(number).normal(size=array.shape)
    return cache, [array.copy() for array in cache.current]


def holds(cache: OnnxCache, before: list[Float32Array]) -> bool:
    slots = before[0].shape[2]
    pairs = zip(cache.current, before, strict=True)
    return all(np.array_equal(now[:, :, :slots], then) for now, then in pairs)


@pytest.mark.parametrize(
    ("in_place", "arrays"), [(True, 0), (True, 3), (False, 0), (False, 3), (False, 5)]
)
def test_no_memory_to_grow(in_place: bool, arrays: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, before = filled(in_place)
    """Of the four arrays of a set, or the eight of two, only some can be made."""
    cache.bindings["graph", 0, 1, False] = object()
    made = iter(range(arrays))
    fresh = onnx_cache.mmap.mmap

    def no_more(*args: int, **kwargs: int) -> object:
        if next(made, None) is None:
            raise OSError(12, "Cannot allocate memory")
        return fresh(*args, **kwargs)

    monkeypatch.setattr(onnx_cache.mmap, "mmap", no_more)
    with pytest.raises(MemoryError):
        cache.grow(1000)
    monkeypatch.undo()
    assert holds(cache, before)
    assert cache.length == cache.other[0].shape[2] == 256
    assert cache.bindings, "they still belong to the arrays"
    cache.grow(1000)
    assert holds(cache, before)
    assert cache.length == cache.other[0].shape[2] > 1000
    assert not cache.bindings


def test_an_impatient_user_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, before = filled(in_place=True)
    fresh = onnx_cache._fresh

    def pressed(sizes: tuple[int, ...]) -> Float32Array:
        os.kill(os.getpid(), signal.SIGINT)
        return fresh(sizes)

    monkeypatch.setattr(onnx_cache, "_fresh", pressed)
    with pytest.raises(KeyboardInterrupt):
        cache.grow(1000)
    assert holds(cache, before)
    assert cache.length > 1000
