"""The loop: what it yields, when it ends, and what the session holds afterwards."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from glmlite.errors import CacheFullError, ConfigError, EngineError
from glmlite.runtime.answer_text import AnswerText, StopStrings
from glmlite.runtime.completion import complete
from glmlite.runtime.generation import generate
from glmlite.runtime.sampling import Sampler, SamplingParams
from glmlite.runtime.session import Session
from glmlite.text import StreamingDetokenizer
from tests.runtime.contract_double import ContractDouble

PROMPT = [5, 6, 7, 8, 9]


def greedy(engine, **options):
    return Sampler(SamplingParams(**options), engine.spec.vocab_size)


def run(session, engine, prompt=PROMPT, count=6, **options):
    return generate(session, prompt, sampler=greedy(engine), max_new_tokens=count, **options)


@pytest.mark.parametrize("sizes", [(1,), (1, 3), (4, 32), (0,)])
def test_greedy_ids_are_those_without_a_cache(sizes):
    engine = ContractDouble(chunk_sizes=sizes)
    session = Session(engine)
    pieces = list(run(session, engine, count=20))
    expected = engine.greedy(PROMPT, 20)
    assert [p.token for p in pieces] == expected
    assert [p.text for p in pieces] == [""] * 20
    assert [p.finish_reason for p in pieces] == [None] * 19 + ["length"]
    assert session.tokens == PROMPT + expected[:-1]


def test_stats_are_on_the_last_piece():
    engine = ContractDouble()
    session = Session(engine)
    list(run(session, engine))
    *others, last = run(session, engine, prompt=[*PROMPT, 50], count=4)
    assert all(p.stats is None for p in others)
    stats = last.stats
    assert (stats.prompt_tokens, stats.reused_tokens, stats.new_tokens) == (6, 5, 4)
    assert 0 < stats.prefill_seconds <= stats.time_to_first_token
    total = stats.time_to_first_token + stats.decode_seconds
    assert stats.engine_seconds + stats.host_seconds == pytest.approx(total)
    assert stats.tokens_per_second == pytest.approx(3 / stats.decode_seconds)
    assert stats.to_dict()["tokens_per_second"] == stats.tokens_per_second


def test_a_slow_caller_is_not_counted(monkeypatch):
    clock = itertools.count()
    engine = ContractDouble()
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0] + next(clock) * 1e-9)
    last = None
    for piece in run(Session(engine), engine):
        now[0] += 100.0
        last = piece
    assert last.stats.decode_seconds < 1


def test_a_stop_token_ends_the_answer():
    engine = ContractDouble()
    session = Session(engine)
    expected = engine.greedy(PROMPT, 10)
    stop = expected[3]
    assert stop not in expected[:3]
    pieces = list(run(session, engine, count=10, stop_ids={stop}))
    assert [p.token for p in pieces] == expected[:4]
    assert pieces[-1].finish_reason == "stop"
    assert session.tokens == PROMPT + expected[:3]


def test_closing_early_leaves_the_session_usable():
    engine = ContractDouble()
    session = Session(engine)
    pieces = run(session, engine, count=20)
    seen = [next(pieces).token for _ in range(5)]
    with pytest.raises(ConfigError, match="generating another answer"):
        next(run(session, engine))
    pieces.close()
    assert session.tokens == PROMPT + seen[:-1]
    again = list(run(session, engine, prompt=PROMPT + seen, count=3))
    assert [p.token for p in again] == engine.greedy(PROMPT, 8)[5:]
    assert again[-1].stats.reused_tokens == len(PROMPT) + 4


def test_an_engine_that_fails_in_the_middle():
    engine = ContractDouble()
    session = Session(engine)
    engine.fail_at = 4
    with pytest.raises(EngineError, match="as told"):
        list(run(session, engine))
    assert session.tokens == [*PROMPT, *engine.greedy(PROMPT, 2)]
    engine.fail_at = None
    assert [p.token for p in run(session, engine)] == engine.greedy(PROMPT, 6)


def test_a_full_cache_in_the_middle_is_an_error():
    engine = ContractDouble(capacity=8)
    session = Session(engine)
    pieces = run(session, engine, count=20)
    seen = [next(pieces).token for _ in range(4)]
    with pytest.raises(CacheFullError, match="holds 8 tokens, 1 more"):
        next(pieces)
    assert seen == engine.greedy(PROMPT, 4)
    assert session.tokens == PROMPT + seen[:3]


def test_the_last_token_needs_no_room():
    engine = ContractDouble(capacity=8)
    pieces = list(run(Session(engine), engine, count=4))
    assert pieces[-1].finish_reason == "length"
    assert not pieces[-1].notices


def test_sliding_drops_the_oldest_tokens_and_says_so(base):
    engine = ContractDouble(vocab_size=base.num_ids, capacity=16)
    session = Session(engine, "sliding")
    prompt = [*base.prefix_ids, *range(300, 310)]
    pieces = list(
        complete(session, prompt, tokenizer=base,
                 sampler=Sampler(SamplingParams(), base.num_ids, banned=base.never_sampled),
                 max_new_tokens=12, overflow="sliding")
    )  # fmt: skip
    dropped = [p for p in pieces if p.notices]
    assert dropped[0] is pieces[4]
    assert "16 tokens is full; tokens dropped, the oldest first: 5" in dropped[0].notices[0]
    assert session.tokens[:2] == list(base.prefix_ids)
    assert pieces[-1].finish_reason == "length"
    assert len(pieces) == 12
    answer = [p.token for p in pieces]
    held = session.tokens[2:]
    assert held == ([*prompt, *answer][:-1])[-len(held) :]


def test_sliding_fits_a_long_prompt(base):
    engine = ContractDouble(vocab_size=base.num_ids, capacity=16)
    sampler = Sampler(SamplingParams(), base.num_ids)
    arguments = {"tokenizer": base, "sampler": sampler, "max_new_tokens": 1}
    prompt = [*base.prefix_ids, *range(300, 330)]
    session = Session(engine)
    (piece,) = complete(session, prompt, overflow="sliding", **arguments)
    assert "oldest first: 20" in piece.notices[0]
    assert session.tokens == [*base.prefix_ids, *range(320, 330)]
    with pytest.raises(CacheFullError, match="32 more do not fit into its 16"):
        list(complete(Session(engine), prompt, **arguments))


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_max_new_tokens_is_checked(count):
    engine = ContractDouble()
    with pytest.raises(ConfigError, match="max_new_tokens"):
        list(run(Session(engine), engine, count=count))


def reference_stop(text, stops):
    """Character by character: the text before the first stop string that is complete."""
    for end in range(1, len(text) + 1):
        starts = [end - len(s) for s in stops if text[:end].endswith(s)]
        if starts:
            return text[: min(starts)]
    return text


def test_stop_strings_do_not_depend_on_how_the_text_is_cut():
    rng = random.Random(4)
    for _ in range(2000):
        text = "".join(rng.choices("ab好\n", k=rng.randint(0, 14)))
        stops = ["".join(rng.choices("ab好\n", k=rng.randint(1, 4))) for _ in range(3)]
        matcher, shown, at = StopStrings(stops), "", 0
        while at < len(text):
            size = rng.randint(1, 5)
            shown += matcher.push(text[at : at + size])
            assert reference_stop(text, stops).startswith(shown)
            at += size
        assert shown + matcher.flush() == reference_stop(text, stops)
        assert matcher.matched == any(s in text for s in stops)


@pytest.mark.parametrize("stop", ["", [""], [5], [None], 3, None, b"x"])
def test_a_stop_string_must_be_text(stop):
    with pytest.raises(ConfigError, match="stop string"):
        StopStrings(stop)


def test_stop_strings_need_a_tokenizer():
    with pytest.raises(ConfigError, match="tokenizer"):
        AnswerText(None, ["x"])


def test_a_stop_string_across_pieces_and_bytes(glm2):
    text = "ab😀cd终END"
    ids = [i for byte in text.encode() for i in [byte + 3]]
    assert glm2.decode(ids) == text
    for stop, shown in [("😀", "ab"), ("d终E", "ab😀c"), ("ENDE", text), ("b😀c", "a")]:
        engine = ContractDouble(vocab_size=glm2.num_ids)
        engine.say(PROMPT, [*ids, 2])
        session = Session(engine)
        output = AnswerText(StreamingDetokenizer(glm2), stop)
        pieces = list(run(session, engine, count=50, stop_ids=glm2.stop_ids, output=output))
        assert "".join(p.text for p in pieces) == shown
        assert pieces[-1].finish_reason == "stop"
        assert (pieces[-1].token == 2) == (shown == text)
        assert "�" not in "".join(p.text for p in pieces)


def test_the_space_after_a_prompt_is_kept(base):
    prompt = base.prompt_ids("hello")
    answer = base.encode("hello hello")
    engine = ContractDouble(vocab_size=base.num_ids)
    engine.say(prompt, [*answer, base.eos_id])
    pieces = list(
        complete(Session(engine), prompt, tokenizer=base,
                 sampler=Sampler(SamplingParams(), base.num_ids), max_new_tokens=50)
    )  # fmt: skip
    assert "".join(p.text for p in pieces) == " hello hello"


def test_penalties_see_prompt_and_answer_apart():
    """presence_penalty 2 forbids nothing of the prompt, but turns a script away from repeating."""
    engine = ContractDouble()
    engine.say(PROMPT, [5])
    seen = []

    class Spy(Sampler):
        def sample(self, logits, tokens=(), prompt_length=0):
            seen.append((np.array(tokens).tolist(), prompt_length))
            return super().sample(logits, tokens, prompt_length)

    sampler = Spy(SamplingParams(), engine.spec.vocab_size)
    pieces = generate(Session(engine), PROMPT, sampler=sampler, max_new_tokens=3)
    tokens = [p.token for p in pieces]
    assert seen == [(PROMPT + tokens[:i], len(PROMPT)) for i in range(3)]
