"""Graphs that keep the cache of the contract in variables of their own: one for everybody.

    (input_ids [B,T], position [B], valid_length [B]) -> logits [B,V]

This is what MindSpore Lite makes of glmlite's graphs with `inputs_to_variable`, and what a network
with the cache in Parameters exports. Rows, positions and idle rows mean what they mean in the
contract; only that the cache cannot be given, read or copied. So the engine remembers the ids
behind every cache that it hands out, and which ids each row of the variables holds. A step whose
past is in the variables runs at once, a rollback included; else the missing ids are fed first, in
as few calls as there are chunks, all rows at the same time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ToolchainError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .backend import Rows
    from .engine import GraphEngine, GraphKey

    Ids = list[list[int]]

_PAD = 0


class _Rows:
    """A cache as it is known outside: the ids of each row, and the cache length it has reached."""

    def __init__(self, batch_size: int, cache_length: int) -> None:
        self.ids: Ids = [[] for _ in range(batch_size)]
        self.cache_length = cache_length


class ResidentEngine:
    """Offers what `GraphEngine` offers, over graphs whose cache is theirs.

    Args:
        graphs: opened on the same job; its own caches are not used.
    """

    def __init__(self, graphs: GraphEngine) -> None:
        self.graphs = graphs
        self.backend = graphs.backend
        self.caches: dict[int, _Rows] = {}
        self.next_cache = 0
        # Ids that the variables of each cache length are known to hold; lengths share nothing.
        self.resident: dict[int, Ids] = {}
        # The first graph of each cache length, whose variables the others share.
        self.first: dict[int, Any] = {}
        self.sharing: set[GraphKey] = set()

    def new_cache(self) -> int:
        """Make a cache: lists of ids, until a step needs the graphs."""
        self.next_cache += 1
        self.caches[self.next_cache] = _Rows(self.graphs.batch_size, self.graphs.cache_lengths[0])
        return self.next_cache

    def free_cache(self, number: int) -> None:
        """Forget a cache; one that is not there is no error."""
        self.caches.pop(number, None)

    def step(self, number: int, rows: Rows, score: bool) -> NDArray[np.float32]:
        """Run one chunk; see `GraphEngine.step`.

        Raises:
            ToolchainError: no graph takes the chunk, a row's past is unknown, or the backend
                failed; the cache is then as it was.
        """
        cache = self.caches.get(number)
        if cache is None:
            raise ToolchainError("There is no cache {number}.", number=number)
        input_ids, position, valid_length = rows
        tokens = input_ids.shape[1]
        needed = int((position + valid_length).max())
        length = self.graphs.pick_length(tokens, needed, cache.cache_length, score)
        wanted = [list(ids) for ids in cache.ids]
        for row, ids in enumerate(cache.ids):
            start, valid = int(position[row]), int(valid_length[row])
            if not valid:
                continue
            if start > len(ids):
                raise ToolchainError(
                    "Row {row} holds {held} tokens; there is no position {start} to go on from.",
                    row=row,
                    held=len(ids),
                    start=start,
                )
            wanted[row] = ids[:start] + [int(token) for token in input_ids[row, :valid]]
        active = [row for row in range(self.graphs.batch_size) if valid_length[row]]
        try:
            self._restore(length, [cache.ids[row][: int(position[row])] for row in active], active)
            logits = self._run(length, tokens, rows, score)
        except BaseException:
            self.resident.pop(length, None)
            raise
        for row in active:
            self._held(length)[row] = wanted[row]
        cache.ids, cache.cache_length = wanted, length
        return logits

    def _held(self, length: int) -> Ids:
        return self.resident.setdefault(length, [[] for _ in range(self.graphs.batch_size)])

    def _restore(self, length: int, pasts: Ids, active: Sequence[int]) -> None:
        """Feed what the variables lack of `pasts`, the past of each active row."""
        held = self._held(length)
        done = [_common(held[row], past) for row, past in zip(active, pasts)]
        sizes = sorted(
            t for score, t, s in self.graphs.graphs if not score and s == length
        )  # fmt: skip
        while any(at < len(past) for at, past in zip(done, pasts)):
            most = max(len(past) - at for at, past in zip(done, pasts))
            tokens = next((t for t in sizes if t >= most), sizes[-1])
            batch = self.graphs.batch_size
            input_ids = np.full((batch, tokens), _PAD, np.int32)
            position, valid = np.zeros(batch, np.int32), np.zeros(batch, np.int32)
            for i, (row, past) in enumerate(zip(active, pasts)):
                piece = past[done[i] : done[i] + tokens]
                input_ids[row, : len(piece)] = piece
                position[row], valid[row] = done[i], len(piece)
                done[i] += len(piece)
            self._run(length, tokens, [input_ids, position, valid], False)
            for row, past, at in zip(active, pasts, done):
                held[row] = past[:at]

    def _run(self, length: int, tokens: int, rows: Rows, score: bool) -> NDArray[np.float32]:
        key = (score, tokens, length)
        model = self.graphs.load(key)
        first = self.first.setdefault(length, model)
        if key not in self.sharing:
            self.sharing.add(key)
            if first is not model:
                self.backend.share_state(first, model)
        return self.graphs.run_model(model, rows, [], tokens, score)

    def close(self) -> None:
        """Free graphs and caches."""
        self.caches.clear()
        self.graphs.close()


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids both begin with."""
    if one[: len(other)] == other:
        return len(other)
    return next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), len(one))
