"""The engines `lite` and `mindspore`: MindIR graphs, in this process or in the toolchain's."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from glmlite.errors import EngineError
from glmlite.runtime.engines.base import Cache, EngineSpec, Float32Array, Int32Array
from glmlite.runtime.engines.checks import check_step, closed
from glmlite.runtime.engines.process import WorkerProcess
from glmlite.toolchain.engine import open_engine
from glmlite.toolchain.errors import ToolchainError


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn the toolchain's errors into glmlite's."""
    try:
        yield
    except ToolchainError as error:
        raise EngineError.from_dict(error.to_dict()) from error


class _Graphs(Protocol):
    """What both ways of reaching a `GraphEngine` offer."""

    version: str

    @property
    def pid(self) -> int | None: ...

    def new_cache(self) -> int: ...

    def free_cache(self, number: int) -> None: ...

    def step(self, number: int, rows: Sequence[Int32Array], score: bool) -> Float32Array: ...

    def close(self) -> None: ...


class LocalGraphs:
    """A `GraphEngine` in this process."""

    def __init__(self, job: dict[str, Any]) -> None:
        with _translated():
            self._engine = open_engine(job)
        self.version: str = self._engine.backend.version

    @property
    def pid(self) -> None:
        """There is no worker."""

    def new_cache(self) -> int:
        """Make a cache; returns its number."""
        with _translated():
            return int(self._engine.new_cache())

    def free_cache(self, number: int) -> None:
        """Forget a cache."""
        self._engine.free_cache(number)

    def step(self, number: int, rows: Sequence[Int32Array], score: bool) -> Float32Array:
        """Run one chunk."""
        with _translated():
            logits: Float32Array = self._engine.step(number, rows, score)
            return logits

    def close(self) -> None:
        """Free everything."""
        self._engine.close()


class RemoteGraphs:
    """A `GraphEngine` in a worker process."""

    def __init__(self, job: dict[str, Any], python: str) -> None:
        self._worker = WorkerProcess(python)
        try:
            reply, _ = self._worker.request({"request": "open", "job": job}, deferring=False)
        except BaseException:
            self._worker.kill()
            self._worker.close()
            raise
        self.version = str(reply["version"])
        self._forgotten: list[int] = []

    @property
    def pid(self) -> int:
        """The worker's process number."""
        return self._worker.pid

    def new_cache(self) -> int:
        """Make a cache; returns its number."""
        while self._forgotten:
            self._worker.request({"request": "free_cache", "cache": self._forgotten.pop()})
        return int(self._worker.request({"request": "new_cache"})[0]["cache"])

    def free_cache(self, number: int) -> None:
        """Forget a cache, when the next one is made: this may run in the middle of a request."""
        self._forgotten.append(number)

    def step(self, number: int, rows: Sequence[Int32Array], score: bool) -> Float32Array:
        """Run one chunk."""
        header = {"request": "step", "cache": number, "score": score}
        logits: Float32Array = self._worker.request(header, rows)[1][0]
        return logits

    def close(self) -> None:
        """End the worker."""
        self._worker.close()


class MindIRCache(Cache):
    """The number of a cache that lives with the graphs; freed there when nobody holds it."""

    def __init__(self, graphs: _Graphs) -> None:
        self.number = graphs.new_cache()
        weakref.finalize(self, graphs.free_cache, self.number)


class MindIREngine:
    """Implements `Engine` over MindIR graphs."""

    def __init__(self, graphs: _Graphs, spec: EngineSpec) -> None:
        self._graphs: _Graphs | None = graphs
        self._spec = spec

    @property
    def spec(self) -> EngineSpec:
        """See `Engine.spec`."""
        return self._spec

    @property
    def version(self) -> str:
        """Of the backend's package."""
        return self._open().version

    @property
    def worker_pid(self) -> int | None:
        """Number of the process that holds the weights; None: this one."""
        return self._open().pid

    def _open(self) -> _Graphs:
        if self._graphs is None:
            raise closed()
        return self._graphs

    def new_cache(self) -> MindIRCache:
        """See `Engine.new_cache`."""
        return MindIRCache(self._open())

    def step(
        self, input_ids: Int32Array, position: Int32Array, valid_length: Int32Array, cache: Cache
    ) -> Float32Array:
        """See `Engine.step`."""
        return self._run(input_ids, position, valid_length, cache, self._spec.chunk_sizes, False)

    def score(
        self, input_ids: Int32Array, position: Int32Array, valid_length: Int32Array, cache: Cache
    ) -> Float32Array:
        """See `Engine.score`."""
        return self._run(input_ids, position, valid_length, cache, self._spec.score_sizes, True)

    def _run(
        self,
        input_ids: Int32Array,
        position: Int32Array,
        valid_length: Int32Array,
        cache: Cache,
        sizes: tuple[int, ...],
        score: bool,
    ) -> Float32Array:
        rows = [np.asarray(a, dtype=np.int32) for a in (input_ids, position, valid_length)]
        check_step(self._spec, rows, sizes)
        if not isinstance(cache, MindIRCache):
            raise EngineError("This cache was made by another engine.")
        return self._open().step(cache.number, rows, score)

    def close(self) -> None:
        """See `Engine.close`."""
        if self._graphs is not None:
            self._graphs.close()
            self._graphs = None
