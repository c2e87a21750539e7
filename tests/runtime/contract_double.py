"""A double of the engine contract, for the logic of sessions: no network, but a real dependence.

Its logits are a function of every id in the row's cache and of where it lies, so a token that is
lost, doubled, moved or left over from a rollback changes everything after it. It refuses what the
contract forbids. It proves nothing about an engine's mathematics.
"""

from __future__ import annotations

import numpy as np

from glmlite.errors import EngineError
from glmlite.runtime.engines.base import Cache, EngineSpec

_UNWRITTEN = -1


class DoubleCache(Cache):
    def __init__(self, rows: int, slots: int) -> None:
        self.ids = np.full((rows, slots), _UNWRITTEN, np.int64)


class ContractDouble:
    """See the module; `calls` lists (T, position of row 0, valid of row 0) of each call."""

    def __init__(
        self,
        vocab_size: int = 97,
        chunk_sizes: tuple[int, ...] = (1, 8, 32),
        score_sizes: tuple[int, ...] = (),
        capacity: int = 64,
        batch_size: int = 1,
    ) -> None:
        self.spec = EngineSpec("double", vocab_size, batch_size, chunk_sizes, score_sizes, capacity)
        self.calls: list[tuple[int, int, int]] = []
        self.fail_at: int | None = None
        self.script: dict[tuple[int, ...], int] = {}

    @property
    def fed(self) -> int:
        return sum(valid for _, _, valid in self.calls)

    def new_cache(self) -> DoubleCache:
        return DoubleCache(self.spec.batch_size, self.spec.capacity)

    def step(self, input_ids, position, valid_length, cache):
        return self._run(self.spec.chunk_sizes, input_ids, position, valid_length, cache)[:, -1]

    def score(self, input_ids, position, valid_length, cache):
        return self._run(self.spec.score_sizes, input_ids, position, valid_length, cache)

    def close(self) -> None:
        pass

    def _run(self, sizes, input_ids, position, valid_length, cache):
        rows, tokens = input_ids.shape
        assert rows == self.spec.batch_size
        assert sizes == (0,) or tokens in sizes
        assert all(a.dtype == np.int32 for a in (input_ids, position, valid_length))
        assert position.shape == valid_length.shape == (rows,)
        self.calls.append((tokens, int(position[0]), int(valid_length[0])))
        logits = np.full((rows, tokens, self.spec.vocab_size), np.nan, np.float32)
        for row in range(rows):
            start, count = int(position[row]), int(valid_length[row])
            if not count:
                continue
            assert 0 < count <= tokens
            assert start + count <= self.spec.capacity
            cache.ids[row, start : start + count] = input_ids[row, :count]
            if self.fail_at == len(self.calls):
                raise EngineError("The double fails as told.")
            held = cache.ids[row, : start + count]
            assert (held != _UNWRITTEN).all()
            for i in range(count):
                logits[row, i] = self.logits_after(held[: start + i + 1])
            logits[row, -1] = logits[row, count - 1]
        return logits

    def logits_after(self, ids) -> np.ndarray:
        """The function that the double computes: float32 [V]."""
        key = tuple(int(i) for i in ids)
        answer = self.script.get(key)
        if answer is not None:
            logits = np.zeros(self.spec.vocab_size, np.float32)
            logits[answer] = 10.0
            return logits
        digest = 0
        for place, token in enumerate(key):
            digest = (digest * 1_000_003 + token * 8191 + place + 1) % (2**61 - 1)
        return np.random.default_rng(digest).standard_normal(self.spec.vocab_size, np.float32)

    def say(self, prompt, ids) -> None:
        """From now on, `ids` follow `prompt`."""
        context = tuple(prompt)
        for token in ids:
            self.script[context] = token
            context += (token,)

    def greedy(self, prompt, count: int) -> list[int]:
        """`count` ids by plain argmax, without any cache."""
        ids = list(prompt)
        for _ in range(count):
            ids.append(int(self.logits_after(ids).argmax()))
        return ids[len(prompt) :]
