"""Prompt-lookup speculative decoding: several tokens from one reading of the weights.

Answers repeat what stands before them: names, code, quoted sentences. Where the last tokens have
occurred before, what followed them then is a draft of what follows now. One step of a score graph
gives the logits after the newest token and after every token of the draft. The sampler is asked at
each of these places in turn, as it would have been without a draft; as long as it chooses what the
draft says, the next logits are there already. So every token is sampled from the model's own
distribution, by the same random numbers: nothing but the speed depends on the drafts.

That holds as far as a step of several rows computes what several steps compute. Kernels may add in
another order where there are more rows; float32 hardly shows it, but rounding activations to
integers turns a last bit into a whole step, and now and then into another token. So "auto" drafts
only what was seen to be exact: the first drafts of each length are computed both ways, and the
answer goes on with the plain one. Whoever gives a number takes the difference.

Sources: Leviathan et al. 2022, arXiv:2211.17192 (verifying drafts in one step); Saxena 2023, prompt
lookup decoding (drafts from n-grams of the prompt).
"""

from __future__ import annotations

import dataclasses
from typing import Literal, cast

import numpy as np

from glmlite.errors import ConfigError
from glmlite.runtime.engines.base import Float32Array, Int32Array
from glmlite.runtime.session import Session

Speculate = int | Literal["auto", "off"]

MAX_DRAFT = 16
# Longest first: the longer the match, the likelier its continuation.
NGRAM_SIZES = (4, 3, 2, 1)
# Of how many drafted tokens how many hold, before anything was seen.
_PRIOR_ACCEPTED = {4: 6.0, 3: 5.0, 2: 3.0, 1: 1.0}
_PRIOR_WEIGHT = 8.0
# What a further row costs before it was measured, as a share of a step.
_PRIOR_ROW_COST = 0.15
_MEMORY = 0.9
# Lengths of drafts that "auto" chooses among: each has to be seen to be exact first.
AUTO_LENGTHS = (1, 3, 7, 15)


def check_speculate(value: object) -> Speculate:
    """`value`, if it is "auto", "off" or the length of every draft.

    Raises:
        ConfigError: it is something else.
    """
    if value in ("auto", "off") or (
        isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_DRAFT
    ):
        return value
    raise ConfigError(
        "speculate is {found!r}; it must be auto, off, or a number of tokens from 1 to {most}.",
        found=value,
        most=MAX_DRAFT,
    )


def find_draft(history: Int32Array, length: int) -> tuple[Int32Array, int]:
    """What followed the last occurrence of the newest tokens.

    Args:
        history: int32 [n], all tokens so far, the newest last.
        length: at most so many tokens.

    Returns:
        The draft, maybe empty, and the size of the n-gram that was found (0 for none).
    """
    count = history.size
    for size in NGRAM_SIZES:
        if count <= size or length < 1:
            continue
        newest = history[count - size :]
        # Starts of the n-grams that end before the newest token.
        matches = history[: count - size] == newest[0]
        for i in range(1, size):
            matches &= history[i : count - size + i] == newest[i]
        found = np.flatnonzero(matches)
        if found.size:
            start = int(found[-1]) + size
            return history[start : start + length].copy(), size
    return np.empty(0, np.int32), 0


@dataclasses.dataclass
class DraftPolicy:
    """How long a draft pays, from what steps took and how many drafted tokens held.

    Attributes:
        step_seconds: a step of one row; 0 until one was measured.
        row_seconds: what each further row adds.
        tries, accepted: drafted tokens that were reached, and those of them that held, by the size
            of the n-gram that was found; old ones count less and less.
        equal_rows: number of rows of a step -> those of them that plain steps computed as well.
        is_exact: no row was seen that was something else.
    """

    step_seconds: float = 0.0
    row_seconds: float | None = None
    tries: dict[int, float] = dataclasses.field(
        default_factory=lambda: dict.fromkeys(_PRIOR_ACCEPTED, _PRIOR_WEIGHT)
    )
    accepted: dict[int, float] = dataclasses.field(default_factory=lambda: dict(_PRIOR_ACCEPTED))
    equal_rows: dict[int, set[int]] = dataclasses.field(default_factory=dict)
    is_exact: bool = True

    def is_proven(self, rows: int) -> bool:
        """Whether steps of `rows` rows were seen to compute what plain steps do, in each row."""
        return self.is_exact and len(self.equal_rows.get(rows, ())) == rows

    def note_row(self, rows: int, row: int, equal: bool) -> None:
        """Take note of row `row` of a step of `rows` rows, which was computed alone as well."""
        self.is_exact &= equal
        self.equal_rows.setdefault(rows, set()).add(row)

    def length(self, size: int, most: int) -> int:
        """Tokens to draft behind an n-gram of `size`, at most `most`; 0 where none pays."""
        if not self.step_seconds or not self.is_exact:
            return 0  # what a step costs has to be known first
        share = self.accepted[size] / self.tries[size]
        row = self.row_seconds
        row = _PRIOR_ROW_COST * self.step_seconds if row is None else row
        best, chosen, expected = 1.0 / self.step_seconds, 0, 1.0
        for length in range(1, most + 1):
            expected += share**length
            speed = expected / (self.step_seconds + length * row)
            if length in AUTO_LENGTHS and speed > best:
                best, chosen = speed, length
        if not chosen:
            self._forget(size)
        return chosen

    def _forget(self, size: int) -> None:
        """A size that does not pay is tried again some day, and one slow step is forgotten."""
        if self.row_seconds is not None:
            usual = _PRIOR_ROW_COST * self.step_seconds
            self.row_seconds += 0.02 * min(usual - self.row_seconds, 0.0)
        self.tries[size] += 0.02 * (_PRIOR_WEIGHT - self.tries[size])
        self.accepted[size] += 0.02 * (_PRIOR_ACCEPTED[size] - self.accepted[size])

    def note_time(self, rows: int, seconds: float) -> None:
        """Take note of what a step of `rows` rows took."""
        if rows == 1:
            self.step_seconds = _blend(self.step_seconds or seconds, seconds)
        elif self.step_seconds:
            row = max(seconds - self.step_seconds, 0.0) / (rows - 1)
            self.row_seconds = _blend(row if self.row_seconds is None else self.row_seconds, row)

    def note_draft(self, size: int, drafted: int, held: int) -> None:
        """Take note of a draft: the tokens behind the first that failed were not tried."""
        tried = min(held + 1, drafted)
        self.tries[size] = _MEMORY * self.tries[size] + tried
        self.accepted[size] = _MEMORY * self.accepted[size] + held


def _blend(old: float, new: float) -> float:
    return 0.8 * old + 0.2 * new


class Lookahead:
    """Gives the logits after each token of an answer, computed ahead of time where a draft holds.

    Args:
        session: whose cache grows; it always holds the tokens of the answer and nothing else.
        speculate: see `check_speculate`. Without score graphs it is "off".
        policy: what earlier answers have taught; changed.

    Attributes:
        drafted: tokens of all drafts. held: those of them that the sampler chose.
    """

    def __init__(
        self, session: Session, speculate: Speculate = "off", policy: DraftPolicy | None = None
    ) -> None:
        self._session = session
        self._mode: Speculate = speculate if session.max_lookahead else "off"
        self._policy = policy or DraftPolicy()
        self._rows: Float32Array | None = None
        self._used = 0
        self._size = 0
        # Rows that were computed ahead and are computed again, and the draft they are of.
        self._trial: Float32Array | None = None
        self._tried: Int32Array = np.empty(0, np.int32)
        self.drafted = self.held = 0

    def after(self, token: int, budget: int) -> Float32Array:
        """Append `token`, the one that the sampler chose, and give the logits after it.

        Args:
            token: an id.
            budget: tokens that the answer may still have.

        Returns:
            float32 [V].
        """
        if self._rows is not None and self._session.confirm(token):
            self._used += 1
            self.held += 1
            logits: Float32Array = self._rows[self._used]
            if self._used == len(self._rows) - 1:
                self._settle()
            return logits
        self._settle()
        if self._trial is not None:
            return self._try(token)
        draft, self._size = self._draft(token, budget)
        if not draft.size:
            return self._feed(token)
        rows = self._look_ahead(token, draft)
        if self._mode == "auto" and not self._policy.is_proven(len(rows)):
            self._session.truncate(len(self._session) - 1)
            self._trial, self._tried, self._used = rows, draft, 0
            return self._try(token)
        self._rows, self._used = rows, 0
        self.drafted += draft.size
        return cast(Float32Array, rows[0])

    def _feed(self, token: int) -> Float32Array:
        """A plain step."""
        before = self._session.engine_seconds
        logits = self._session.feed([token])
        self._policy.note_time(1, self._session.engine_seconds - before)
        return logits

    def _look_ahead(self, token: int, draft: Int32Array) -> Float32Array:
        """A step of several rows."""
        before = self._session.engine_seconds
        rows = self._session.look_ahead(token, draft)
        self._policy.note_time(len(rows), self._session.engine_seconds - before)
        return rows

    def _try(self, token: int) -> Float32Array:
        """A plain step, held against a row that was computed ahead for the same tokens."""
        assert self._trial is not None  # noqa: S101 - there is one to try
        logits = self._feed(token)
        rows, row = len(self._trial), self._used
        holds = not row or self._tried[row - 1] == token
        if holds:
            most = self._session.score_tolerance * float(np.abs(logits).max())
            equal = bool(np.abs(self._trial[row] - logits).max() <= most)
            self._policy.note_row(rows, row, equal)
            self._used += 1
        if not holds or self._used == rows:
            self._policy.note_draft(self._size, rows - 1, self._used - 1)
            self._trial = None
        return logits

    def _settle(self) -> None:
        """Forget the rows that are left, and learn from them."""
        if self._rows is not None:
            self._policy.note_draft(self._size, len(self._rows) - 1, self._used)
            self._rows = None

    def _draft(self, token: int, budget: int) -> tuple[Int32Array, int]:
        session = self._session
        most = min(MAX_DRAFT, session.max_lookahead - 1, session.room - 1, budget - 1)
        if self._mode == "off" or most < 1:
            return np.empty(0, np.int32), 0
        if self._mode != "auto":
            most = min(most, self._mode)
        draft, size = find_draft(np.append(session.history, np.int32(token)), most)
        if size and self._mode == "auto":
            return draft[: self._policy.length(size, draft.size)], size
        return draft, size
