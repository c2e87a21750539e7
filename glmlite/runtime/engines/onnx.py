"""The engine `onnx`: a bundle's ONNX graphs on ONNX Runtime, their cache in place."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from glmlite.bundle import Bundle
from glmlite.bundle.manifest import GraphEntry
from glmlite.bundle.onnx_graphs import check_onnx_graphs
from glmlite.errors import EngineError
from glmlite.runtime.engines.base import Cache, EngineSpec, Float32Array, Int32Array
from glmlite.runtime.engines.checks import check_step, closed
from glmlite.runtime.engines.interrupts import interrupt_deferred
from glmlite.runtime.engines.onnx_cache import CacheShape, OnnxCache
from glmlite.runtime.engines.onnx_graph import OnnxGraph, writes_in_place
from glmlite.runtime.engines.onnx_rows import Part, Rows, split_rows
from glmlite.runtime.engines.onnx_session import import_onnxruntime, open_session
from glmlite.runtime.engines.options import EngineOptions

NAME = "onnx"


def open_onnx(bundle: Bundle, options: EngineOptions) -> OnnxEngine:
    """Open the ONNX graphs of a bundle.

    Args:
        bundle: from `Bundle.open`.
        options: resolved for this engine; `threads` counts.

    Raises:
        EngineError: ONNX Runtime is missing or too old, or refuses a graph.
        BundleError: a graph is not what the manifest says, or reads what is not the bundle's.
    """
    manifest = bundle.manifest
    entries = [g for g in manifest.graphs if g.format == "onnx"]
    phases: dict[str, GraphEntry] = {g.phase: g for g in entries}
    if "decode" not in phases:
        raise EngineError(
            "The bundle {path} holds no ONNX graph that makes a step.",
            hint="Export the checkpoint with --set export.format=onnx.",
            path=str(bundle.path),
        )
    phases.setdefault("prefill", phases["decode"])
    files = check_onnx_graphs(bundle.path, manifest, entries)
    kinds = {writes_in_place(file) for file in files.values()}
    if len(kinds) > 1:
        raise EngineError("The graphs of {path} share no cache.", path=str(bundle.path))
    shape = CacheShape(
        batch_size=entries[0].batch_size,
        num_layers=manifest.model.num_layers,
        num_groups=manifest.model.num_groups,
        head_dim=manifest.model.head_dim,
        cache_length=max(g.cache_length for g in entries),
        in_place=kinds.pop(),
        prefix=bundle.prefix_cache() or (),
    )

    def load(entry: GraphEntry) -> OnnxGraph:
        session = open_session(bundle.path / entry.file, options.threads)
        return OnnxGraph(session, entry, files[entry.file])

    return OnnxEngine(phases, load, shape, manifest.model.vocab_size)


class OnnxEngine:
    """Implements `Engine` over ONNX graphs.

    Args:
        phases: "prefill", "decode" and, where there is one, "score" -> the graph that serves it.
        load: opens a graph. Those of steps are opened at once, a score graph of its own when it is
            first used.
        shape: of the caches.
        vocab_size: V.

    Raises:
        EngineError: ONNX Runtime refuses a graph.
    """

    def __init__(
        self,
        phases: Mapping[str, GraphEntry],
        load: Callable[[GraphEntry], OnnxGraph],
        shape: CacheShape,
        vocab_size: int,
    ) -> None:
        self.version: str = import_onnxruntime().__version__
        self.worker_pid = None
        self._phases, self._load, self._shape = phases, load, shape
        self._graphs: dict[str, OnnxGraph] = {}
        self._caches: weakref.WeakSet[OnnxCache] = weakref.WeakSet()
        self._is_open = True
        self._spec = EngineSpec(
            name=NAME,
            vocab_size=vocab_size,
            batch_size=shape.batch_size,
            chunk_sizes=(0,),
            score_sizes=(0,) if "score" in phases else (),
            capacity=shape.cache_length - shape.prefix_length,
        )
        for phase in ("decode", "prefill"):
            self._graph(phase)

    @property
    def spec(self) -> EngineSpec:
        """See `Engine.spec`."""
        return self._spec

    def _graph(self, phase: str) -> OnnxGraph:
        entry = self._phases[phase]
        if entry.file not in self._graphs:
            self._graphs[entry.file] = self._load(entry)
        return self._graphs[entry.file]

    def new_cache(self) -> OnnxCache:
        """See `Engine.new_cache`."""
        if not self._is_open:
            raise closed()
        cache = OnnxCache(self._shape)
        self._caches.add(cache)
        return cache

    def step(
        self, input_ids: Int32Array, position: Int32Array, valid_length: Int32Array, cache: Cache
    ) -> Float32Array:
        """See `Engine.step`; idle rows get zeros."""
        rows, own = self._checked((input_ids, position, valid_length), cache, (0,))
        shape = (self._spec.batch_size, self._spec.vocab_size)
        graph = self._graph("decode" if int(rows[2].max()) <= 1 else "prefill")
        return self._run(graph, rows, own, shape, every_row=False)

    def score(
        self, input_ids: Int32Array, position: Int32Array, valid_length: Int32Array, cache: Cache
    ) -> Float32Array:
        """See `Engine.score`; padding gets zeros."""
        sizes = self._spec.score_sizes
        rows, own = self._checked((input_ids, position, valid_length), cache, sizes)
        shape = (*rows[0].shape, self._spec.vocab_size)
        return self._run(self._graph("score"), rows, own, shape, every_row=True)

    def close(self) -> None:
        """See `Engine.close`."""
        self._is_open = False
        self._graphs.clear()
        for cache in self._caches:
            cache.bindings.clear()  # they hold on to the sessions

    def _checked(self, given: Rows, cache: Cache, sizes: tuple[int, ...]) -> tuple[Rows, OnnxCache]:
        if not self._is_open:
            raise closed()
        input_ids, position, valid = (np.asarray(a, dtype=np.int32) for a in given)
        check_step(self._spec, (input_ids, position, valid), sizes)
        if not isinstance(cache, OnnxCache) or cache not in self._caches:
            raise EngineError("This cache was made by another engine.")
        return (input_ids, position, valid), cache

    def _run(
        self,
        graph: OnnxGraph,
        rows: Rows,
        cache: OnnxCache,
        shape: tuple[int, ...],
        every_row: bool,
    ) -> Float32Array:
        """Logits of `shape`; those of idle rows and padding are zeros."""
        parts = split_rows(rows, self._shape.in_place)
        cache.grow(max((self._shape.prefix_length + part.end for part in parts), default=0))
        logits: Float32Array | None = None
        for part in parts:
            with self._sparing(cache, part):
                found = graph.run(cache, part.first, part.rows, every_row)
            if not self._shape.in_place:
                cache.turn()
            if found.shape == shape and not part.idle:
                return found
            if logits is None:
                logits = np.zeros(shape, np.float32)
            part.place(found, logits, every_row)
        return np.zeros(shape, np.float32) if logits is None else logits

    @contextlib.contextmanager
    def _sparing(self, cache: OnnxCache, part: Part) -> Iterator[None]:
        """Leave the cache of idle rows as it is, also when Ctrl-C is pressed."""
        if not (part.idle and self._shape.in_place):
            yield
            return
        with interrupt_deferred(), cache.kept(part.idle):
            yield
