"""Drafts change nothing but the number of calls."""

from __future__ import annotations

import numpy as np
import pytest

from glmlite.errors import ConfigError
from glmlite.runtime.generation import generate
from glmlite.runtime.sampling import Sampler, SamplingParams
from glmlite.runtime.session import Session
from glmlite.runtime.sliding import Context
from glmlite.runtime.speculation import DraftPolicy, check_speculate, find_draft
from tests.runtime.contract_double import ContractDouble

PROMPT = [5, 6, 7, 8, 9, 10, 11, 5, 6]


def ids(*numbers):
    return np.array(numbers, np.int32)


def answer(engine, count, prompt=PROMPT, **options):
    speculate = options.pop("speculate", "off")
    rest = {k: options.pop(k) for k in ("make_room", "policy", "stop_ids") if k in options}
    sampler = Sampler(SamplingParams(**options), engine.spec.vocab_size)
    session = Session(engine)
    pieces = list(
        generate(
            session,
            prompt,
            sampler=sampler,
            max_new_tokens=count,
            speculate=speculate,
            **rest,
        )
    )
    return [p.token for p in pieces], pieces[-1].stats, session


@pytest.mark.parametrize(
    ("history", "length", "draft", "size"),
    [
        (ids(1, 2, 3, 4, 9, 1, 2, 3), 3, [4, 9, 1], 3),
        (ids(1, 2, 3, 8, 2, 3, 9, 2, 3), 2, [9, 2], 2),  # the last occurrence counts
        (ids(4, 4, 4), 5, [4], 2),
        (ids(1, 2, 3), 4, [], 0),
        (ids(7), 4, [], 0),
        (ids(1, 2, 1, 2), 0, [], 0),
    ],
)
def test_a_draft_is_what_followed_the_longest_match(history, length, draft, size):
    found, matched = find_draft(history, length)
    assert (found.tolist(), matched) == (draft, size)


@pytest.mark.parametrize("scores", [(0,), (4,), (2, 8)])
@pytest.mark.parametrize("speculate", ["auto", 1, 3, 16])
def test_greedy_tokens_stay_the_same(scores, speculate):
    engine = ContractDouble(score_sizes=scores, capacity=80)
    said = [7, 8, 9, 10, 11, 5, 6, 7, 8, 40, 41, 42, 40, 41, 42, 40, 41, 42, 3]
    engine.say(PROMPT, said)
    expected, plain, _ = answer(engine, 40)
    tokens, stats, session = answer(engine, 40, speculate=speculate)
    assert tokens == expected
    assert tokens[: len(said)] == said
    assert session.tokens == PROMPT + tokens[:-1]
    assert plain.drafted_tokens == 0
    if speculate != "auto":
        assert stats.drafted_tokens >= stats.held_tokens > 5


def test_drafts_that_hold_save_calls():
    engine = ContractDouble(score_sizes=(0,), capacity=80)
    engine.say(PROMPT, [7, 8, 9, 10, 11, 5, 6] * 5)
    engine.calls.clear()
    answer(engine, 30, speculate=8)
    assert len(engine.calls) < 12


@pytest.mark.parametrize("seed", range(4))
def test_the_same_seed_draws_the_same_tokens(seed):
    """Each token is drawn from the same logits with the same random number as without drafts."""
    engine = ContractDouble(vocab_size=12, score_sizes=(0,), capacity=90)
    options = {"temperature": 0.9, "top_p": 0.95, "repetition_penalty": 1.1, "seed": seed}
    prompt = [1, 2, 3, 1, 2]
    expected, _, _ = answer(engine, 60, prompt, **options)
    tokens, stats, _ = answer(engine, 60, prompt, speculate=4, **options)
    assert tokens == expected
    assert stats.drafted_tokens > stats.held_tokens > 0


def test_stopping_in_a_draft_keeps_what_was_sampled():
    engine = ContractDouble(score_sizes=(0,))
    engine.say(PROMPT, [7, 8, 9, 10, 11])
    tokens, _, session = answer(engine, 20, speculate=8, stop_ids={9})
    assert tokens == [7, 8, 9]
    assert session.tokens == [*PROMPT, 7, 8]
    session.feed([50])
    assert session.tokens == [*PROMPT, 7, 8, 50]
    assert not session.confirm(10)


def test_a_draft_never_outgrows_the_cache():
    engine = ContractDouble(score_sizes=(0,), capacity=14)
    engine.say(PROMPT, [7, 8, 9, 10, 11, 5, 6])
    kept = []

    def make_room(found):
        kept.append(list(found))
        return Context([1, 2, found[-1]], "dropped")

    tokens, _, session = answer(engine, 9, speculate=16, make_room=make_room)
    plain, _, _ = answer(engine, 9, make_room=make_room)
    assert tokens == plain
    assert kept[0] == kept[1]
    assert len(session) <= 14


def test_without_score_graphs_nothing_is_drafted():
    engine = ContractDouble()
    engine.say(PROMPT, [7, 8, 9, 10, 11])
    assert answer(engine, 5, speculate=8)[1].drafted_tokens == 0


def test_the_policy_stops_drafting_what_does_not_pay():
    policy = DraftPolicy()
    policy.note_time(1, 1.0)
    assert policy.length(4, 8) > 0
    for _ in range(20):
        policy.note_draft(4, 4, 0)
    assert policy.length(4, 8) == 0
    for _ in range(400):
        policy.length(4, 8)
    assert policy.length(4, 8) > 0  # tried again some day


def test_the_policy_weighs_what_rows_cost():
    cheap, dear = DraftPolicy(), DraftPolicy()
    for policy, seconds in ((cheap, 1.05), (dear, 6.0)):
        policy.note_time(1, 1.0)
        for _ in range(10):
            policy.note_time(6, seconds)
    assert cheap.length(3, 8) > dear.length(3, 8) == 0


def test_a_length_is_proven_by_each_of_its_rows():
    policy = DraftPolicy()
    for _ in range(3):
        policy.note_row(2, 0, equal=True)
    assert not policy.is_proven(2)
    policy.note_row(2, 1, equal=True)
    assert policy.is_proven(2)
    policy.note_row(4, 3, equal=False)
    assert not policy.is_proven(2)


class WrongLastRow(ContractDouble):
    """A score graph whose last row is not what a plain step gives."""

    def score(self, *arguments):
        rows = super().score(*arguments)
        rows[:, -1] = np.roll(rows[:, -1], 1)
        return rows


def test_auto_takes_no_row_that_was_not_seen_to_be_equal():
    engine = WrongLastRow(score_sizes=(0,), capacity=200)
    engine.say(PROMPT, [7, 8, 9, 10, 11, 5, 6] * 12)
    expected, _, _ = answer(engine, 80)
    policy = DraftPolicy(step_seconds=1.0, row_seconds=0.0)
    assert answer(engine, 80, speculate="auto", policy=policy)[0] == expected
    assert not policy.is_exact


def test_one_slow_step_does_not_end_drafting():
    policy = DraftPolicy()
    policy.note_time(1, 0.01)
    policy.note_time(2, 5.0)
    assert policy.length(4, 8) == 0
    for _ in range(600):
        policy.length(4, 8)
    assert policy.length(4, 8) > 0


@pytest.mark.parametrize("value", [0, -1, 17, True, "on", 2.0, None])
def test_other_values_are_refused(value):
    with pytest.raises(ConfigError, match="speculate"):
        check_speculate(value)
