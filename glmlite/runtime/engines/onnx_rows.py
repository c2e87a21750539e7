"""Which rows of a ragged step go through an ONNX graph together."""

from __future__ import annotations

import dataclasses

import numpy as np

from glmlite.runtime.engines.base import Float32Array, Int32Array

# input_ids [n, T], position [n], valid_length [n].
Rows = tuple[Int32Array, Int32Array, Int32Array]


# Bytes of attention scores that one call may write out; 512 tokens at 2,048 slots in a 6B model.
MAX_SCORES = 128 << 20


@dataclasses.dataclass(frozen=True)
class Part:
    """Neighbouring rows of a step, and a stretch of their tokens, that one call takes.

    Attributes:
        first: the first row's number in the step.
        start: the first token's number in the step.
        rows: of the call; no column is padding in all of them.
        idle: rows of the step that are only there because their neighbours are, at position 0.
    """

    first: int
    start: int
    rows: Rows
    idle: list[int]

    @property
    def end(self) -> int:
        """Tokens in the fullest row after the call."""
        return int((self.rows[1] + self.rows[2]).max())

    def place(self, found: Float32Array, logits: Float32Array, every_row: bool) -> None:
        """Put the call's logits where the step's caller looks for them."""
        for i, count in enumerate(self.rows[2].tolist()):
            if every_row:
                logits[self.first + i, self.start : self.start + count] = found[i, :count]
            elif count:
                logits[self.first + i] = found[i]


def split_rows(rows: Rows, is_fused: bool, most_tokens: int) -> list[Part]:
    """Cut a step into calls that a graph takes.

    Args:
        rows: of the step, checked.
        is_fused: GroupQueryAttention's limits hold: several rows take one token each, and nothing
            is padded. Rows of several tokens are then calls of their own.
        most_tokens: of a call.

    Returns:
        The calls, in the order of the tokens; none if all rows idle.
    """
    valid = rows[2]
    if not valid.any():
        return []
    if not is_fused:
        return _stretches(rows, 0, len(valid), most_tokens)
    parts = []
    for row in np.flatnonzero(valid > 1).tolist():
        parts += _stretches(rows, row, row + 1, most_tokens)
    single = np.flatnonzero(valid == 1)
    if single.size:
        input_ids, position, _ = rows
        # A neighbour with more tokens has a call of its own and idles in this one.
        alone = (input_ids, position, np.where(valid == 1, valid, 0).astype(np.int32))
        parts += _stretches(alone, int(single[0]), int(single[-1]) + 1, 1)
    return parts


def _stretches(rows: Rows, first: int, behind: int, most_tokens: int) -> list[Part]:
    """The rows first … behind - 1, at most so many tokens a call."""
    input_ids, position, valid = (array[first:behind] for array in rows)
    parts = []
    for start in range(0, int(valid.max()), most_tokens):
        now = np.clip(valid - start, 0, most_tokens).astype(np.int32)
        idle = [first + i for i in np.flatnonzero(now == 0).tolist()]
        at = np.where(now > 0, position + start, 0).astype(np.int32)
        ids = input_ids[:, start : start + int(now.max())]
        parts.append(Part(first, start, (ids, at, now), idle))
    return parts
