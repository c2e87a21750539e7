"""Which rows of a ragged step go through an ONNX graph together."""

from __future__ import annotations

import dataclasses

import numpy as np

from glmlite.runtime.engines.base import Float32Array, Int32Array

# input_ids [n, T], position [n], valid_length [n].
Rows = tuple[Int32Array, Int32Array, Int32Array]


@dataclasses.dataclass(frozen=True)
class Part:
    """Neighbouring rows of a step that one call takes.

    Attributes:
        first: the first row's number in the step.
        rows: of the call; no column is padding in all of them.
        idle: rows of the step that are only there because their neighbours are, at position 0.
    """

    first: int
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
                logits[self.first + i, :count] = found[i, :count]
            elif count:
                logits[self.first + i] = found[i]


def split_rows(rows: Rows, in_place: bool) -> list[Part]:
    """Cut a step into calls that a graph takes.

    Args:
        rows: of the step, checked.
        in_place: GroupQueryAttention's limits hold: several rows take one token each, and nothing
            is padded. Rows of several tokens are then calls of their own.

    Returns:
        The calls; none if all rows idle.
    """
    valid = rows[2]
    if not valid.any():
        return []
    if not in_place:
        return [_part(rows, 0, len(valid))]
    parts = [_part(rows, row, row + 1) for row in np.flatnonzero(valid > 1).tolist()]
    single = np.flatnonzero(valid == 1)
    if single.size:
        input_ids, position, _ = rows
        # A neighbour with more tokens has a call of its own and idles in this one.
        alone = (input_ids, position, np.where(valid == 1, valid, 0).astype(np.int32))
        parts.append(_part(alone, int(single[0]), int(single[-1]) + 1))
    return parts


def _part(rows: Rows, first: int, behind: int) -> Part:
    input_ids, position, valid = (array[first:behind] for array in rows)
    tokens = int(valid.max())
    position = np.where(valid > 0, position, 0).astype(np.int32)
    idle = [first + i for i in np.flatnonzero(valid == 0).tolist()]
    return Part(first, (input_ids[:, :tokens], position, valid), idle)
