"""Graphs that keep the cache inside, as MindFormers 0.8–1.0 exported them; see `GraphEngine`.

    prefill: (input_ids [B,S], input_position, init_reset, batch_valid_length) -> logits
    decode:  (input_ids [B,1], input_position, init_reset, batch_valid_length) -> logits

The cache is a Parameter of the graphs: one for everybody, never seen outside. What follows from it:

- Prefill takes whole prompts only. init_reset is False there: what the cache held is dropped.
- Decode *adds* the new token's key to its slot, which is right only where nothing was written
  before. So it may only append to what the cache holds; init_reset is True: keep.
- input_position is flat over the rows of a batch: b·S + valid_length − 1.

The engine therefore remembers the ids behind every cache that it hands out. A step that appends to
the ids in the graphs decodes; every other one (a rollback, another cache, a row that idled while
others went on, several tokens where that is cheaper) prefills all rows again from their ids. Each
is exact; a prefill costs S rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ToolchainError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from .backend import Backend, Rows

    Ids = list[list[int]]

# A call costs about as much as so many rows; see glmlite.runtime.chunks.
CALL_COST_ROWS = 32
_PAD = 0


class InGraphEngine:
    """A prefill and a decode graph that share a cache of S slots.

    Args:
        backend: `MindSporeBackend` or `LiteBackend`.
        job: "graphs" (the prefill and the decode graph as in `GraphEngine`, each with "inputs": a
            list of {role, shape} in the graph's order), "vocab_size".

    Raises:
        ToolchainError: the backend refuses a graph, or would lose the cache.
    """

    def __init__(self, backend: Backend, job: Mapping[str, Any]) -> None:
        self.backend = backend
        graphs = {graph["phase"]: graph for graph in job["graphs"]}
        self.prefill, self.decode = graphs["prefill"], graphs["decode"]
        self.batch_size: int = self.prefill["batch_size"]
        self.cache_length: int = self.prefill["cache_length"]
        self.vocab_size: int = job["vocab_size"]
        self.caches: dict[int, Ids] = {}
        self.next_cache = 0
        # The ids that the graphs' cache is known to hold; None for a row that it may not.
        self.resident: list[list[int] | None] = [None] * self.batch_size
        backend.declare([self.prefill, self.decode])
        self.models = {"prefill": backend.load(self.prefill), "decode": backend.load(self.decode)}
        backend.share_state(self.models["prefill"], self.models["decode"])

    def new_cache(self) -> int:
        """Make a cache: a list of ids for each row, until a step needs the graphs."""
        self.next_cache += 1
        self.caches[self.next_cache] = [[] for _ in range(self.batch_size)]
        return self.next_cache

    def free_cache(self, number: int) -> None:
        """Forget a cache; one that is not there is no error."""
        self.caches.pop(number, None)

    def step(self, number: int, rows: Rows, score: bool) -> NDArray[np.float32]:
        """Append tokens to a cache; see `GraphEngine.step`.

        Raises:
            ToolchainError: the chunk does not fit, a row's earlier tokens are unknown, or the
                backend failed; the cache is then as it was.
        """
        cache = self.caches.get(number)
        if cache is None:
            raise ToolchainError("There is no cache {number}.", number=number)
        if score:
            raise ToolchainError("Graphs with the cache inside give no logits of every row.")
        wanted, active = self._wanted(cache, rows)
        try:
            if self._appends(wanted, active):
                logits = self._append(wanted, active)
            else:
                logits = self._run_prefill(wanted)
        except BaseException:
            self.resident = [None] * self.batch_size
            raise
        cache[:] = wanted
        return logits

    def _wanted(self, cache: Ids, rows: Rows) -> tuple[Ids, list[int]]:
        """The ids that each row holds after the step, and the rows that get new ones."""
        input_ids, position, valid_length = rows
        wanted, active = [], []
        for row, held in enumerate(cache):
            valid, start = int(valid_length[row]), int(position[row])
            if not valid:
                wanted.append(held)
                continue
            if start > len(held) or start + valid > self.cache_length:
                raise ToolchainError(
                    "Row {row} holds {held} tokens of {length}; {valid} more at position {start} "
                    "do not fit.",
                    row=row,
                    held=len(held),
                    length=self.cache_length,
                    valid=valid,
                    start=start,
                )
            active.append(row)
            wanted.append(held[:start] + [int(token) for token in input_ids[row, :valid]])
        return wanted, active

    def _appends(self, wanted: Ids, active: Sequence[int]) -> bool:
        """Whether decode steps lead to `wanted`, and cost less than a prefill."""
        counts = set()
        for row in active:
            resident = self.resident[row]
            if not resident or wanted[row][: len(resident)] != resident:
                return False
            counts.add(len(wanted[row]) - len(resident))
        if len(counts) != 1 or 0 in counts:
            return False
        return counts.pop() * (CALL_COST_ROWS + 1) <= CALL_COST_ROWS + self.cache_length

    def _append(self, wanted: Ids, active: Sequence[int]) -> NDArray[np.float32]:
        """Decode until the graphs hold `wanted`; rows that idle meanwhile are written over."""
        for row in range(self.batch_size):
            if row not in active:
                self.resident[row] = None
        start = len(self.resident[active[0]] or ())
        for _step in range(start, len(wanted[active[0]])):
            lengths = np.ones(self.batch_size, np.int32)
            tokens = np.full((self.batch_size, 1), _PAD, np.int32)
            for row in active:
                held = self.resident[row] or []
                tokens[row, 0] = wanted[row][len(held)]
                lengths[row] = len(held) + 1
            logits = self._call("decode", tokens, lengths, keep=True)
            for row in active:
                self.resident[row] = wanted[row][: int(lengths[row])]
        return logits

    def _run_prefill(self, wanted: Ids) -> NDArray[np.float32]:
        tokens = np.full((self.batch_size, self.cache_length), _PAD, np.int32)
        # An empty row still needs one token; it is not counted as held.
        lengths = np.array([max(len(ids), 1) for ids in wanted], np.int32)
        for row, ids in enumerate(wanted):
            tokens[row, : len(ids)] = ids
        logits = self._call("prefill", tokens, lengths, keep=False)
        self.resident = [ids or None for ids in wanted]
        return logits

    def _call(
        self, phase: str, tokens: NDArray[Any], lengths: NDArray[Any], keep: bool
    ) -> NDArray[np.float32]:
        """Run one graph; float32 [B,V] of each row's last token."""
        graph = self.prefill if phase == "prefill" else self.decode
        values = {
            "input_ids": tokens,
            "input_position": lengths - 1 + np.arange(self.batch_size) * self.cache_length,
            "init_reset": np.array([keep]),
            "batch_valid_length": lengths,
        }
        rows = [values[i["role"]].astype(i["dtype"]).reshape(i["shape"]) for i in graph["inputs"]]
        try:
            logits = self.backend.run(self.models[phase], rows, [])
        except ToolchainError:
            raise
        except Exception as error:
            raise ToolchainError(
                "{engine} failed in a step: {error}",
                engine=self.backend.name,
                error=str(error).strip()[:2000],
            ) from error
        return self._last_rows(logits, tokens.shape[1], lengths)

    def _last_rows(
        self, logits: NDArray[Any], tokens: int, lengths: NDArray[Any]
    ) -> NDArray[np.float32]:
        """The graphs give [B,V]; those that were exported without a position give [B,T,V]."""
        batch, vocab = self.batch_size, self.vocab_size
        if logits.size == batch * vocab:
            return logits.reshape(batch, vocab).astype(np.float32, copy=False)
        if logits.size == batch * tokens * vocab:
            every = logits.reshape(batch, tokens, vocab).astype(np.float32, copy=False)
            last: NDArray[np.float32] = every[np.arange(batch), np.minimum(lengths, tokens) - 1]
            return last
        raise ToolchainError(
            "A graph returned logits of shape {found}; the contract says {expected}.",
            found=str(logits.shape),
            expected=str((batch, vocab)),
        )

    def close(self) -> None:
        """Free graphs and caches."""
        self.models.clear()
        self.caches.clear()
        self.backend.close()
