"""The engine `onnx`: a bundle's ONNX graphs on ONNX Runtime, their cache in place."""

from __future__ import annotations

import contextlib
import dataclasses
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from glmlite.bundle import Bundle
from glmlite.bundle.manifest import GraphEntry
from glmlite.bundle.onnx_graphs import check_onnx_graphs
from glmlite.errors import EngineError
from glmlite.runtime.engines.base import Cache, EngineSpec, Float32Array, Int32Array
from glmlite.runtime.engines.checks import check_step, closed
from glmlite.runtime.engines.interrupts import interrupt_deferred
from glmlite.runtime.engines.onnx_cache import CacheShape, OnnxCache
from glmlite.runtime.engines.onnx_graph import (
    OnnxGraph,
    has_fused_attention,
    rounds_activations,
    writes_in_place,
)
from glmlite.runtime.engines.onnx_memory import check_memory
from glmlite.runtime.engines.onnx_rows import MAX_SCORES, Part, Rows, split_rows
from glmlite.runtime.engines.onnx_session import OnnxSettings, import_onnxruntime, open_session
from glmlite.runtime.engines.options import EngineOptions

NAME = "onnx"


def open_onnx(
    bundle: Bundle, options: EngineOptions, settings: OnnxSettings | None = None
) -> OnnxEngine:
    """Open the ONNX graphs of a bundle.

    Args:
        bundle: from `Bundle.open`.
        options: resolved for this engine; `threads` counts.
        settings: what was tuned; None: ONNX Runtime's and our own defaults.

    Raises:
        EngineError: ONNX Runtime is missing or too old, or refuses a graph, or the weights do not
            fit into memory (`onnx_memory`).
        BundleError: a graph is not what the manifest says, or reads what is not the bundle's.
    """
    manifest, settings = bundle.manifest, settings or OnnxSettings()
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
    growing = not all(has_fused_attention(file) for file in files.values())
    check_memory(bundle)
    shape = CacheShape(
        batch_size=entries[0].batch_size,
        num_layers=manifest.model.num_layers,
        num_heads=manifest.model.num_heads,
        num_groups=manifest.model.num_groups,
        head_dim=manifest.model.head_dim,
        cache_length=max(g.cache_length for g in entries),
        in_place=kinds.pop(),
        growing=growing,
        prefix=bundle.prefix_cache() or (),
    )

    def load(entry: GraphEntry) -> OnnxGraph:
        file = files[entry.file]
        path = bundle.path / entry.file
        session = open_session(path, options.threads, settings.spinning, file)
        return OnnxGraph(session, entry, file)

    spec = EngineSpec(
        name=NAME,
        vocab_size=manifest.model.vocab_size,
        batch_size=shape.batch_size,
        chunk_sizes=(0,),
        score_sizes=(0,) if "score" in phases else (),
        capacity=shape.cache_length - shape.prefix_length,
        preferred_chunk=settings.prefill_chunk,
    )
    if any(rounds_activations(file) for file in files.values()):
        spec = dataclasses.replace(spec, score_tolerance=0.0)
    return OnnxEngine(phases, load, shape, spec)


class OnnxEngine:
    """Implements `Engine` over ONNX graphs.

    Args:
        phases: "prefill", "decode" and, where there is one, "score" -> the graph that serves it.
        load: opens a graph. Those of steps are opened at once, a score graph of its own when it is
            first used.
        shape: of the caches.
        spec: what the graphs can run.

    Raises:
        EngineError: ONNX Runtime refuses a graph.
    """

    def __init__(
        self,
        phases: Mapping[str, GraphEntry],
        load: Callable[[GraphEntry], OnnxGraph],
        shape: CacheShape,
        spec: EngineSpec,
    ) -> None:
        self.version: str = import_onnxruntime().__version__
        self.worker_pid = None
        self._phases, self._load, self._shape = phases, load, shape
        self._caches: weakref.WeakSet[OnnxCache] = weakref.WeakSet()
        self._is_open = True
        self._spec = spec
        needed = {phases[phase].file: phases[phase] for phase in ("decode", "prefill")}
        # Where ONNX Runtime rearranges the weights of a graph on one core, there are others.
        with ThreadPoolExecutor(len(needed)) as pool:
            self._graphs = dict(zip(needed, pool.map(load, needed.values()), strict=True))

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
        end = self._shape.prefix_length + int((rows[1] + rows[2])[rows[2] > 0].max(initial=0))
        cache.grow(end)
        logits: Float32Array | None = None
        for part in split_rows(rows, graph.is_fused, self._most_tokens(graph, cache)):
            with self._sparing(graph, cache, part):
                found = graph.run(cache, part.first, part.rows, every_row)
            if not self._shape.in_place:
                cache.turn()
            if found.shape == shape and not part.idle:
                return found
            if logits is None:
                logits = np.zeros(shape, np.float32)
            part.place(found, logits, every_row)
        return np.zeros(shape, np.float32) if logits is None else logits

    def _most_tokens(self, graph: OnnxGraph, cache: OnnxCache) -> int:
        """Tokens of a call: any number, or as many as leave the scores some bounds."""
        if graph.is_fused:
            return cache.length
        row = 4 * self._shape.batch_size * self._shape.num_heads * cache.length
        return max(1, MAX_SCORES // row)

    @contextlib.contextmanager
    def _sparing(self, graph: OnnxGraph, cache: OnnxCache, part: Part) -> Iterator[None]:
        """Leave the cache of idle rows as it is, also when Ctrl-C is pressed."""
        if not (part.idle and graph.is_fused):
            yield
            return
        with interrupt_deferred(), cache.kept(part.idle):
            yield
