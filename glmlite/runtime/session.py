"""One conversation: its token ids and the cache that holds their keys and values."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np

from glmlite.errors import CacheFullError, ConfigError
from glmlite.runtime.chunks import plan_chunks
from glmlite.runtime.engines.base import Cache, Engine, Float32Array, Int32Array
from glmlite.runtime.ranges import check_ids

if TYPE_CHECKING:
    from glmlite.runtime.transcript import Transcript

Overflow = Literal["error", "sliding"]
_Call = Callable[[Int32Array, Int32Array, Int32Array, Cache], Float32Array]


class Session:
    """Token ids in row 0 of a cache of its own; the other rows stay idle.

    `tokens` always says what the cache holds: ids are added chunk by chunk, after the engine
    succeeded, so a failed or interrupted call leaves a session that can go on.

    Args:
        engine: what runs the graphs; must outlive the session.
        overflow: what `generate` and `chat` do when the cache is full: raise ("error") or drop the
            oldest rounds and say so ("sliding"). `feed`, `score` and `sync` always raise.

    Attributes:
        engine_seconds: time spent in the engine so far.
        transcript: the messages that the tokens stand for, where `chat` knows them.
    """

    def __init__(self, engine: Engine, overflow: Overflow = "error") -> None:
        self.overflow: Overflow = check_overflow(overflow)
        self.engine_seconds = 0.0
        self.transcript: Transcript | None = None
        self._engine = engine
        self._spec = engine.spec
        self._dynamic = engine.spec.preferred_chunk
        self._cache = engine.new_cache()
        self._ids: Int32Array = np.zeros(self._spec.capacity, np.int32)
        self._length = 0
        self._ahead = 0  # places up to here are computed, for the ids in `_ids`
        self._in_use = False

    def __len__(self) -> int:
        return self._length

    @property
    def tokens(self) -> list[int]:
        """The ids in the cache."""
        return cast("list[int]", self._ids[: self._length].tolist())

    @property
    def history(self) -> Int32Array:
        """The ids in the cache as a read-only view, int32 [n]; valid until the next change."""
        view = self._ids[: self._length]
        view.flags.writeable = False
        return view

    @property
    def vocab_size(self) -> int:
        """V, the width of the logits."""
        return self._spec.vocab_size

    @property
    def capacity(self) -> int:
        """How many tokens the cache can hold."""
        return self._spec.capacity

    @property
    def max_lookahead(self) -> int:
        """How many ids `look_ahead` takes at most; 0 without score graphs."""
        sizes = self._spec.score_sizes
        if not sizes:
            return 0
        return self.capacity if sizes[0] == 0 else max(sizes)

    @property
    def score_tolerance(self) -> float:
        """See `EngineSpec.score_tolerance`."""
        return self._spec.score_tolerance

    @property
    def room(self) -> int:
        """How many more tokens fit."""
        return self._spec.capacity - self._length

    def feed(self, ids: Sequence[int] | Int32Array) -> Float32Array:
        """Append ids to the cache.

        Returns:
            float32 [V], logits after the last of them.

        Raises:
            CacheFullError: they do not fit; nothing was fed.
            ConfigError: there are none, or one is no id of the model.
            EngineError: the engine failed; `tokens` holds what went in before.
        """
        new = self._checked(ids)
        self._require_room(new.size, held=self._length)
        return self._feed(new)

    def score(self, ids: Sequence[int] | Int32Array) -> Float32Array:
        """Append ids to the cache; errors as in `feed`.

        Returns:
            float32 [n, V], logits after each of them. Without score graphs this takes one step per
            token.
        """
        new = self._checked(ids)
        self._require_room(new.size, held=self._length)
        if not self._spec.score_sizes:
            return np.stack([self._feed(new[i : i + 1]) for i in range(new.size)])
        rows = []
        start = 0
        for size, valid in plan_chunks(new.size, self._spec.score_sizes, self._dynamic):
            logits = self._run(self._engine.score, new[start : start + valid], size)
            rows.append(logits[:valid])
            start += valid
        return np.concatenate(rows)

    def look_ahead(self, token: int, draft: Int32Array) -> Float32Array:
        """Append `token`, and compute what would follow if `draft` came next, in one step.

        The session then holds `token`; `confirm` appends ids of the draft without computing.

        Args:
            token: an id.
            draft: int32 [n]; n + 1 is at most `max_lookahead`.

        Returns:
            float32 [n + 1, V]: logits after the token, and after each id of the draft.

        Raises:
            CacheFullError, ConfigError, EngineError: as in `feed`.
        """
        new = self._checked(np.concatenate([np.array([token], np.int32), draft]))
        self._require_room(new.size, held=self._length)
        sizes = self._spec.score_sizes
        size = new.size if sizes[0] == 0 else min(s for s in sizes if s >= new.size)
        logits = self._run(self._engine.score, new, size)[: new.size]
        self._ahead = self._length
        self._length -= draft.size
        return logits

    def confirm(self, token: int) -> bool:
        """Append an id if it is the next one of the draft that `look_ahead` computed."""
        if self._length >= self._ahead or self._ids[self._length] != token:
            return False
        self._length += 1
        return True

    def sync(self, ids: Sequence[int] | Int32Array) -> Float32Array:
        """Make the cache hold exactly `ids`, feeding only what follows the longest common prefix.

        Returns:
            float32 [V], logits after the last id (which is therefore always fed).

        Raises:
            CacheFullError: they do not fit; nothing was changed.
            ConfigError, EngineError: as in `feed`.
        """
        wanted = self._checked(ids)
        self._require_room(wanted.size, held=0)
        common = self.reusable(wanted)
        self.truncate(common)
        return self._feed(wanted[common:])

    def reusable(self, ids: Sequence[int] | Int32Array) -> int:
        """How many leading ids `sync` would not need to feed."""
        wanted = self._checked(ids)
        length = min(self._length, wanted.size - 1)
        differing = np.flatnonzero(self._ids[:length] != wanted[:length])
        return int(differing[0]) if differing.size else length

    def truncate(self, n: int) -> None:
        """Keep the first `n` tokens; costs nothing.

        Raises:
            ConfigError: the session does not hold that many.
        """
        if isinstance(n, bool) or not isinstance(n, Integral) or not 0 <= n <= self._length:
            raise ConfigError(
                "Cannot truncate to {found!r} tokens: the session holds {held}.",
                found=n,
                held=self._length,
            )
        self._length = int(n)
        self._ahead = 0

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Refuse a second answer while one is being generated.

        Raises:
            ConfigError: the session is in use.
        """
        if self._in_use:
            raise ConfigError(
                "This session is generating another answer.",
                hint="Finish or close() that generator first, or use a session of its own.",
            )
        self._in_use = True
        try:
            yield
        finally:
            self._in_use = False

    def _feed(self, new: Int32Array) -> Float32Array:
        start = 0
        logits: Float32Array | None = None
        for size, valid in plan_chunks(new.size, self._spec.chunk_sizes, self._dynamic):
            logits = self._run(self._engine.step, new[start : start + valid], size)
            start += valid
        assert logits is not None  # noqa: S101 - _checked refuses empty input
        return logits

    def _run(self, call: _Call, new: Int32Array, size: int) -> Float32Array:
        """Run one chunk of `size` rows on row 0 and take note of its tokens."""
        rows = self._spec.batch_size
        input_ids = np.zeros((rows, size), np.int32)
        input_ids[0, : new.size] = new
        position = np.zeros(rows, np.int32)
        position[0] = self._length
        valid_length = np.zeros(rows, np.int32)
        valid_length[0] = new.size
        self._ahead = 0
        started = time.perf_counter()
        try:
            logits = call(input_ids, position, valid_length, self._cache)
        finally:
            self.engine_seconds += time.perf_counter() - started
        self._ids[self._length : self._length + new.size] = new
        self._length += new.size
        return cast(Float32Array, logits[0])

    def _checked(self, ids: Sequence[int] | Int32Array) -> Int32Array:
        return check_ids(ids, self._spec.vocab_size)

    def _require_room(self, new: int, held: int) -> None:
        if held + new > self.capacity:
            raise CacheFullError(
                "The session's cache is full: it holds {held} tokens, {new} more do not fit into "
                "its {capacity}.",
                hint="Shorten the input, start a new session, let old rounds be dropped "
                "(overflow='sliding', --overflow sliding), or export with a larger "
                "export.cache_length.",
                held=held,
                new=new,
                capacity=self.capacity,
            )


def check_overflow(value: str) -> Overflow:
    """`value`, if it names a policy.

    Raises:
        ConfigError: it does not.
    """
    if value not in get_args(Overflow):
        raise ConfigError(
            "overflow is {found!r}; it must be one of: {known}.",
            found=value,
            known=", ".join(get_args(Overflow)),
        )
    return cast(Overflow, value)
