"""Penalties on tokens that have occurred, and the counts that they need."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glmlite.runtime.engines.base import Float32Array, Int32Array
from glmlite.runtime.ranges import check_number


class TokenCounts:
    """How often each id occurs in a growing list of tokens.

    Counting continues where the last call ended; tokens that are no continuation of what was
    counted (after a rollback) are counted anew. Either way no Python loop runs over them.
    """

    def __init__(self, vocab_size: int) -> None:
        self._counts: NDArray[np.int64] = np.zeros(vocab_size, np.int64)
        self._counted: Int32Array = np.empty(0, np.int32)
        self.ids: NDArray[np.int64] = np.empty(0, np.int64)

    def update(self, tokens: Sequence[int] | Int32Array) -> None:
        """Count `tokens`: all tokens so far, not only the new ones. Ids lie in [0, V)."""
        current = np.array(tokens, np.int32)
        known = self._counted.size
        if current.size < known or not np.array_equal(current[:known], self._counted):
            self._counts[self.ids] = 0
            self.ids = self.ids[:0]
            known = 0
        self._counted = current
        new = current[known:]
        if new.size:
            unseen = np.unique(new[self._counts[new] == 0])
            np.add.at(self._counts, new, 1)
            self.ids = np.concatenate([self.ids, unseen])

    @property
    def counts(self) -> NDArray[np.int64]:
        """Occurrences of each of `ids`, at least 1."""
        return self._counts[self.ids]


def penalize_repetition(logits: Float32Array, seen: NDArray[np.int64], penalty: float) -> None:
    """Divide positive and multiply negative logits of `seen` by `penalty`, in place.

    Source: CTRL (Keskar et al. 2019, arXiv:1909.05858), in the form that Transformers gave it:
    a negative logit is multiplied, so that a penalty above 1 always makes a token less likely.
    """
    check_number("repetition_penalty", penalty, "(0, inf)")
    found = logits[seen]
    logits[seen] = np.where(found > 0, found / penalty, found * penalty)


def penalize_presence(logits: Float32Array, seen: NDArray[np.int64], penalty: float) -> None:
    """Subtract `penalty` from the logits of `seen`, in place (OpenAI API, presence_penalty)."""
    check_number("presence_penalty", penalty, "[-2, 2]")
    logits[seen] -= np.float32(penalty)


def penalize_frequency(
    logits: Float32Array,
    seen: NDArray[np.int64],
    counts: NDArray[np.int64],
    penalty: float,
) -> None:
    """Subtract `penalty` times the count of each `seen` id (OpenAI API, frequency_penalty)."""
    check_number("frequency_penalty", penalty, "[-2, 2]")
    logits[seen] -= (penalty * counts).astype(np.float32)
