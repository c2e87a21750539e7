"""Static graphs as one engine: picks the graph of a step, owns the caches, moves them when full.

Only ids go in and logits come out; a cache is a number to the outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ToolchainError, first_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .backend import Backend, CacheData, Graph, Rows
    from .in_graph_cache import InGraphEngine
    from .resident import ResidentEngine

    # Whether a score graph is meant, T, and S.
    GraphKey = tuple[bool, int, int]


class _Cache:
    """One cache of B rows: its graphs' S, and the backend's own arrays."""

    def __init__(self, cache_length: int, data: CacheData) -> None:
        self.cache_length, self.data = cache_length, data


class GraphEngine:
    """The graphs of one bundle on one backend.

    Args:
        backend: `MindSporeBackend` or `LiteBackend`.
        job: "graphs" (dicts of phase, tokens, cache_length, batch_size, path, dtype, producer),
            "num_layers", "num_groups", "head_dim", "vocab_size", "prefix_length",
            "prefix_path" (a .npy of [layers, 2, groups, P, head_dim], or None).

    Raises:
        ToolchainError: the backend refuses the smallest graph.
    """

    def __init__(self, backend: Backend, job: Mapping[str, Any]) -> None:
        self.backend = backend
        self.job = job
        self.graphs: dict[GraphKey, Graph] = {
            (g["phase"] == "score", g["tokens"], g["cache_length"]): g for g in job["graphs"]
        }
        self.batch_size: int = job["graphs"][0]["batch_size"]
        self.cache_lengths: list[int] = sorted({g["cache_length"] for g in job["graphs"]})
        self.loaded: dict[GraphKey, Any] = {}
        self.caches: dict[int, _Cache] = {}
        self.next_cache = 0
        self.prefix: NDArray[Any] | None = None
        if job["prefix_length"]:
            self.prefix = np.load(job["prefix_path"], allow_pickle=False)
        backend.declare(job["graphs"])
        # A pair of versions that does not fit shows at once, not in the first answer.
        smallest = min(self.graphs)
        model = self.load(smallest)
        # Three inputs and no cache: the graphs keep it themselves (`resident`).
        self.cache_inside = backend.count_inputs(model, self.graphs[smallest]) == 3
        if not self.cache_inside:
            self.cache_dtype = backend.cache_dtype(model, self.graphs[smallest])

    def load(self, key: GraphKey) -> Any:
        """The model of a graph, loaded when it is first wanted."""
        if key not in self.loaded:
            self.loaded[key] = self.backend.load(self.graphs[key])
        return self.loaded[key]

    def _shape(self, cache_length: int) -> tuple[int, int, int, int]:
        job = self.job
        return (self.batch_size, job["num_groups"], cache_length, job["head_dim"])

    def new_cache(self) -> int:
        """Make a cache of the smallest length, the prefix in its first slots.

        Returns:
            The cache's number.
        """
        length = self.cache_lengths[0]
        arrays = []
        for i in range(2 * self.job["num_layers"]):
            array = np.zeros(self._shape(length), self.cache_dtype)
            if self.prefix is not None:
                array[:, :, : self.job["prefix_length"]] = self.prefix[i // 2, i % 2]
            arrays.append(array)
        self.next_cache += 1
        self.caches[self.next_cache] = _Cache(length, self.backend.new_cache(arrays))
        return self.next_cache

    def free_cache(self, number: int) -> None:
        """Forget a cache; one that is not there is no error."""
        self.caches.pop(number, None)

    def step(self, number: int, rows: Rows, score: bool) -> NDArray[np.float32]:
        """Run one chunk.

        Args:
            number: of the cache.
            rows: input_ids int32 [B,T], position int32 [B], valid_length int32 [B].
            score: whether a score graph is meant.

        Returns:
            float32 [B,V], or [B,T,V] from a score graph.

        Raises:
            ToolchainError: no graph has this T, the chunk does not fit, or the backend failed; the
                cache is then as it was.
        """
        cache = self.caches.get(number)
        if cache is None:
            raise ToolchainError("There is no cache {number}.", number=number)
        input_ids, position, valid_length = rows
        tokens = input_ids.shape[1]
        needed = int(self.job["prefix_length"] + (position + valid_length).max())
        length = self.pick_length(tokens, needed, cache.cache_length, score)
        graph = self.load((score, tokens, length))
        if length != cache.cache_length:
            self._grow(cache, length)
        return self.run_model(graph, rows, cache.data, tokens, score)

    def pick_length(self, tokens: int, needed: int, current: int, score: bool) -> int:
        """The shortest cache length, `current` or more, whose graph takes a step.

        Args:
            tokens: T of the step.
            needed: slots that will be filled.
            current: the cache's length by now.
            score: whether a score graph is meant.

        Raises:
            ToolchainError: there is none.
        """
        lengths = [
            s for s in self.cache_lengths if s >= max(needed, current)
            and (score, tokens, s) in self.graphs
        ]  # fmt: skip
        if not lengths:
            raise ToolchainError(
                "No graph of this bundle takes {tokens} tokens at {needed} cache slots.",
                tokens=tokens,
                needed=needed,
            )
        return lengths[0]

    def run_model(
        self, model: Any, rows: Rows, cache: CacheData, tokens: int, score: bool
    ) -> NDArray[np.float32]:
        """Run a loaded graph; float32 [B,V], or [B,T,V] from a score graph.

        Raises:
            ToolchainError: the backend failed, or returned something else.
        """
        try:
            logits = self.backend.run(model, rows, cache)
        except ToolchainError:
            raise
        except Exception as error:
            raise ToolchainError(
                "{engine} failed in a step: {error}",
                engine=self.backend.name,
                error=first_words(error),
            ) from error
        shape = (self.batch_size,) + ((tokens,) if score else ()) + (self.job["vocab_size"],)
        if logits.size != np.prod(shape):
            raise ToolchainError(
                "A graph returned logits of shape {found}; the contract says {expected}.",
                found=str(logits.shape),
                expected=str(shape),
            )
        return logits.reshape(shape).astype(np.float32, copy=False)

    def _grow(self, cache: _Cache, cache_length: int) -> None:
        arrays = []
        for old in self.backend.to_arrays(cache.data):
            array = np.zeros(self._shape(cache_length), old.dtype)
            array[:, :, : cache.cache_length] = old
            arrays.append(array)
        cache.data, cache.cache_length = self.backend.new_cache(arrays), cache_length

    def close(self) -> None:
        """Free graphs and caches."""
        self.loaded.clear()
        self.caches.clear()
        self.backend.close()


def open_engine(job: Mapping[str, Any]) -> GraphEngine | InGraphEngine | ResidentEngine:
    """The engine of a job.

    Args:
        job: "engine" ("mindspore" or "lite") with its "options"; "contract": "in_graph" for graphs
            that keep the cache inside, otherwise those of glmlite.
    """
    backend: Backend
    if job["engine"] == "lite":
        from .lite_backend import LiteBackend

        backend = LiteBackend(job["options"])
    else:
        from .mindspore_backend import MindSporeBackend

        backend = MindSporeBackend(job["options"])
    if job.get("contract") == "in_graph":
        from .in_graph_cache import InGraphEngine

        return InGraphEngine(backend, job)
    engine = GraphEngine(backend, job)
    if engine.cache_inside:
        from .resident import ResidentEngine

        return ResidentEngine(engine)
    return engine
