"""An engine around an engine that counts what is asked of it."""

from __future__ import annotations

import time

from glmlite.bench.report import Calls
from glmlite.runtime.engines.base import Cache, Engine, EngineSpec, Float32Array, Int32Array


class CountingEngine:
    """Implements `Engine` by passing everything on.

    Attributes:
        step_seconds: of the last call of `step`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._steps = self._decode_steps = self._tokens = 0
        self.step_seconds = 0.0

    @property
    def spec(self) -> EngineSpec:
        """See `Engine.spec`."""
        return self._engine.spec

    @property
    def calls(self) -> Calls:
        """What has been asked for so far."""
        return Calls(self._steps, self._decode_steps, self._tokens)

    def new_cache(self) -> Cache:
        """See `Engine.new_cache`."""
        return self._engine.new_cache()

    def step(
        self, input_ids: Int32Array, position: Int32Array, valid_length: Int32Array, cache: Cache
    ) -> Float32Array:
        """See `Engine.step`."""
        started = time.perf_counter()
        logits = self._engine.step(input_ids, position, valid_length, cache)
        self.step_seconds = time.perf_counter() - started
        self._steps += 1
        self._decode_steps += input_ids.shape[1] == 1
        self._tokens += int(valid_length.sum())
        return logits

    def score(
        self, input_ids: Int32Array, position: Int32Array, valid_length: Int32Array, cache: Cache
    ) -> Float32Array:
        """See `Engine.score`."""
        return self._engine.score(input_ids, position, valid_length, cache)

    def close(self) -> None:
        """See `Engine.close`."""
        self._engine.close()
