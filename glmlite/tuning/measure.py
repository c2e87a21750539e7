"""Seconds that an open engine takes for a prompt, by chunk, and for steps after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from glmlite.bench.report import Spread
from glmlite.runtime.chunks import plan_chunks
from glmlite.runtime.engines.base import Engine, Int32Array
from glmlite.tuning.options import DECODE_STEPS


class Stopwatch:
    """Drives row 0 of an engine without static shapes, as a session does; other rows stay idle.

    Args:
        engine: stays open.
        prompt_tokens: of the prompt; they and `DECODE_STEPS` fit into a cache.
        advance: called after every prompt, and after every repeat of the steps.
        seed: of the random ids.
    """

    def __init__(
        self, engine: Engine, prompt_tokens: int, advance: Callable[[], None], seed: int = 0
    ) -> None:
        self._advance = advance
        self._engine, self._cache = engine, engine.new_cache()
        self._prompt = prompt_tokens
        generator = np.random.default_rng(seed)
        count = prompt_tokens + DECODE_STEPS
        self._ids = generator.integers(0, engine.spec.vocab_size, count, dtype=np.int32)

    def warm_up(self, chunk: int) -> None:
        """Let memory and kernels settle: one prompt and one step that nobody counts."""
        self._feed(chunk)
        self._step(self._prompt, 1)

    def prefill(self, chunks: Sequence[int], repeats: int) -> list[Spread]:
        """Seconds for the whole prompt, for each chunk; what disturbs one disturbs all of them."""
        seconds: list[list[float]] = [[] for _chunk in chunks]
        for _repeat in range(repeats):
            for chunk, found in zip(chunks, seconds, strict=True):
                found.append(self._feed(chunk))
        return [Spread.of(found) for found in seconds]

    def decode(self, repeats: int) -> Spread:
        """Seconds for a step after the prompt, of `DECODE_STEPS` for each repeat."""
        steps = range(self._prompt, self._prompt + DECODE_STEPS)
        seconds = []
        for _repeat in range(repeats):
            seconds += [self._step(at, 1) for at in steps]
            self._advance()
        return Spread.of(seconds)

    def _feed(self, chunk: int) -> float:
        seconds, start = 0.0, 0
        for size, _valid in plan_chunks(self._prompt, (0,), chunk):
            seconds += self._step(start, size)
            start += size
        self._advance()
        return seconds

    def _step(self, start: int, size: int) -> float:
        rows = self._engine.spec.batch_size
        input_ids: Int32Array = np.zeros((rows, size), np.int32)
        input_ids[0] = self._ids[start : start + size]
        position: Int32Array = np.zeros(rows, np.int32)
        valid: Int32Array = np.zeros(rows, np.int32)
        position[0], valid[0] = start, size
        started = time.perf_counter()
        self._engine.step(input_ids, position, valid, self._cache)
        return time.perf_counter() - started
