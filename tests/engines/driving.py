"""Calls engines the way a session does, and compares what they say with what is expected."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmlite.runtime.engines.base import Cache, Engine
from tests.engines.subjects import Case, Subject

FP32 = 2e-3
FP16 = 5e-2


@dataclasses.dataclass(frozen=True)
class Running:
    """An open engine and the model it runs."""

    subject: Subject
    engine: Engine
    kind: str

    def takes(self, size: int) -> bool:
        """Whether chunks of `size` tokens can be fed."""
        sizes = self.engine.spec.chunk_sizes
        return sizes == (0,) or size in sizes


def one_row(
    engine: Engine, cache: Cache, ids: Sequence[int], size: int, *, position: int = 0, row: int = 0
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Feed `ids` to one row in chunks of `size` while the others idle.

    Yields:
        (tokens in the cache, logits [V]) after every chunk.
    """
    batch = engine.spec.batch_size
    for start in range(0, len(ids), size):
        piece = ids[start : start + size]
        input_ids = np.full((batch, size), 7, np.int32)
        input_ids[row, : len(piece)] = piece
        positions, valid = np.zeros(batch, np.int32), np.zeros(batch, np.int32)
        positions[row], valid[row] = position + start, len(piece)
        logits = engine.step(input_ids, positions, valid, cache)
        assert logits.shape == (batch, engine.spec.vocab_size)
        assert logits.dtype == np.float32
        yield position + start + len(piece), logits[row]


def prefill(
    engine: Engine, cache: Cache, case: Case, size: int, tolerance: float, row: int = 0
) -> int:
    """Feed a prompt, comparing after every chunk; returns the first token of the reply."""
    logits = None
    for held, logits in one_row(engine, cache, case.prompt, size, row=row):
        close(logits, case.logits[held - 1], tolerance, f"{case.name}, {held} tokens")
    assert logits is not None
    return int(logits.argmax())


def decode(
    engine: Engine,
    cache: Cache,
    case: Case,
    token: int,
    tolerance: float,
    row: int = 0,
    steps: int | None = None,
) -> list[int]:
    """Answer greedily, one token a step, comparing logits at each; returns all ids.

    The answer is as long as the one that is known, or has `steps` tokens after the first.
    """
    reply, position = [token], len(case.prompt)
    while len(reply) < min(len(case.greedy_ids), (steps or 1000) + 1):
        ((_, logits),) = one_row(engine, cache, reply[-1:], 1, position=position, row=row)
        close(logits, case.logits[position], tolerance, f"{case.name}, position {position}")
        reply.append(int(logits.argmax()))
        position += 1
    return reply


def close(found: NDArray[Any], wanted: NDArray[Any], tolerance: float, what: str) -> None:
    """Assert that no logit lies further off than `tolerance`."""
    difference = float(np.abs(found.astype(np.float64) - wanted).max(initial=0.0))
    assert difference <= tolerance, f"{what}: off by {difference:.3g}"
