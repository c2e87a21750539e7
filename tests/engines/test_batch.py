"""Rows of a batch: different lengths, different positions, rows that idle, join and leave."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engines.bundles import pairs
from tests.engines.driving import FP32, Running, close, decode, one_row, prefill
from tests.engines.subjects import GOLDEN, Case

BATCH = 3
EXPORT = {
    "export__batch_size": BATCH,
    "export__score_tokens": 16,
    "export__parity": "full",
}
SUBJECTS = (GOLDEN, "prefix")


def three(running: Running) -> list[Case]:
    """A case for each row; no two neighbours alike."""
    cases = running.subject.cases
    return [cases[0], cases[-1], cases[1]]


@pytest.mark.parametrize("running", pairs(SUBJECTS), indirect=True)
def test_one_row_of_a_batch_is_like_a_batch_of_one(running: Running) -> None:
    engine = running.engine
    for row, case in enumerate(three(running)):
        cache = engine.new_cache()
        first = prefill(engine, cache, case, 7, FP32, row=row)
        assert decode(engine, cache, case, first, FP32, row=row) == case.greedy_ids


@pytest.mark.parametrize("running", pairs(SUBJECTS), indirect=True)
def test_rows_decode_together_at_different_positions(running: Running) -> None:
    engine, cases = running.engine, three(running)
    cache = engine.new_cache()
    last = [prefill(engine, cache, case, 32, FP32, row=row) for row, case in enumerate(cases)]
    replies = [[token] for token in last]
    position = np.array([len(case.prompt) for case in cases], np.int32)
    for _ in range(20):
        ids = np.array([[reply[-1]] for reply in replies], np.int32)
        logits = engine.step(ids, position, np.ones(BATCH, np.int32), cache)
        for row, case in enumerate(cases):
            close(logits[row], case.logits[position[row]], FP32, f"row {row} at {position[row]}")
            replies[row].append(int(logits[row].argmax()))
        position = position + 1
    assert replies == [case.greedy_ids[:21] for case in cases]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("running", pairs(SUBJECTS), indirect=True)
def test_any_mixture_of_chunks(running: Running, seed: int) -> None:
    """Prefilling, decoding and idle rows in the same step; padding and idle rows hold garbage."""
    engine, cases = running.engine, three(running)
    spec, random = engine.spec, np.random.default_rng(seed)
    cache, held = engine.new_cache(), [0] * BATCH
    while any(n < len(case.ids) for n, case in zip(held, cases, strict=True)):
        size = int(random.choice([1, 7, 32]))
        input_ids = random.integers(0, spec.vocab_size, (BATCH, size)).astype(np.int32)
        position, valid = np.zeros(BATCH, np.int32), np.zeros(BATCH, np.int32)
        for row, case in enumerate(cases):
            left = len(case.ids) - held[row]
            count = int(random.integers(0, min(size, left) + 1))
            # An idle row may say any position: nothing of it is used.
            position[row] = held[row] if count else random.integers(0, spec.capacity + 1)
            valid[row] = count
            input_ids[row, :count] = case.ids[held[row] : held[row] + count]
        logits = engine.step(input_ids, position, valid, cache)
        for row, case in enumerate(cases):
            held[row] += int(valid[row])
            if valid[row]:
                close(logits[row], case.logits[held[row] - 1], FP32, f"row {row}, {held[row]}")


@pytest.mark.parametrize("running", pairs(SUBJECTS), indirect=True)
def test_an_idle_row_keeps_its_cache(running: Running) -> None:
    """The same step before and after others worked gives the same logits, to the last bits."""
    engine, case = running.engine, running.subject.cases[-1]
    cache = engine.new_cache()
    token = prefill(engine, cache, case, 32, FP32, row=1)
    position = len(case.prompt)
    ((_, before),) = one_row(engine, cache, [token], 1, position=position, row=1)
    before = before.copy()
    for row in (0, 2):
        for other in running.subject.cases:
            for _ in one_row(engine, cache, other.prompt, 7, row=row):
                pass
    ((_, after),) = one_row(engine, cache, [token], 1, position=position, row=1)
    close(after, before, 1e-6, "an idle row")


@pytest.mark.parametrize("running", pairs(SUBJECTS), indirect=True)
def test_score_gives_logits_of_every_row(running: Running) -> None:
    engine, cases = running.engine, three(running)
    assert engine.spec.score_sizes in ((16,), (0,))
    cache, held = engine.new_cache(), [0] * BATCH
    while any(n < len(case.ids) for n, case in zip(held, cases, strict=True)):
        input_ids, valid = np.zeros((BATCH, 16), np.int32), np.zeros(BATCH, np.int32)
        for row, case in enumerate(cases):
            piece = case.ids[held[row] : held[row] + 16 - row]
            input_ids[row, : len(piece)], valid[row] = piece, len(piece)
        logits = engine.score(input_ids, np.array(held, np.int32), valid, cache)
        assert logits.shape == (BATCH, 16, engine.spec.vocab_size)
        assert logits.dtype == np.float32
        for row, case in enumerate(cases):
            end = held[row] + int(valid[row])
            close(logits[row, : valid[row]], case.logits[held[row] : end], FP32, f"row {row}")
            held[row] = end


@pytest.mark.parametrize("running", pairs(SUBJECTS), indirect=True)
def test_scored_tokens_are_in_the_cache(running: Running) -> None:
    """Verifying a draft leaves the cache as feeding it would."""
    engine, case = running.engine, running.subject.cases[1]
    cache = engine.new_cache()
    input_ids, valid = np.zeros((BATCH, 16), np.int32), np.zeros(BATCH, np.int32)
    start = len(case.prompt) // 16 * 16
    for _ in one_row(engine, cache, case.prompt[:start], 7, row=2):
        pass
    piece = case.prompt[start:]
    input_ids[2, : len(piece)], valid[2] = piece, len(piece)
    logits = engine.score(input_ids, np.array([0, 0, start], np.int32), valid, cache)
    first = int(logits[2, len(piece) - 1].argmax())
    assert decode(engine, cache, case, first, FP32, row=2) == case.greedy_ids
