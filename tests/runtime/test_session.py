"""Sessions on the contract double: what the cache holds is always what the tokens say."""

from __future__ import annotations

import numpy as np
import pytest

from glmlite.errors import CacheFullError, ConfigError, EngineError
from glmlite.runtime.session import Session
from tests.runtime.contract_double import ContractDouble

IDS = list(range(3, 33))


def assert_consistent(session, engine):
    """Feeding one more token gives what the function of all tokens gives."""
    expected = engine.logits_after([*session.tokens, 42])
    assert np.array_equal(session.feed([42]), expected)


@pytest.mark.parametrize("sizes", [(1,), (1, 7), (7,), (1, 32), (64,), (0,)])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("pieces", [[30], [1] * 30, [13, 17], [29, 1]])
def test_any_tiling_gives_the_same(sizes, rows, pieces):
    engine = ContractDouble(chunk_sizes=sizes, batch_size=rows)
    session = Session(engine)
    start = 0
    for count in pieces:
        logits = session.feed(IDS[start : start + count])
        start += count
        assert np.array_equal(logits, engine.logits_after(IDS[:start]))
    assert session.tokens == IDS == session.history.tolist()
    assert (len(session), session.room, session.capacity) == (30, 34, 64)


@pytest.mark.parametrize("sizes", [(), (4,), (4, 16), (0,)])
def test_score_gives_every_row(sizes):
    engine = ContractDouble(score_sizes=sizes)
    session = Session(engine)
    session.feed(IDS[:5])
    rows = session.score(IDS[5:])
    expected = [engine.logits_after(IDS[: i + 1]) for i in range(5, len(IDS))]
    assert np.array_equal(rows, np.stack(expected))
    assert session.tokens == IDS
    assert_consistent(session, engine)


def test_sync_feeds_only_what_is_new():
    engine = ContractDouble()
    session = Session(engine)
    session.sync(IDS)
    for wanted, fed in [
        ([*IDS, 50, 51], 2),
        ([*IDS[:10], 60], 1),
        (IDS[:5], 1),
        (IDS[:5], 1),
        ([90, 91], 2),
    ]:
        before = engine.fed
        assert session.reusable(wanted) == len(wanted) - fed
        assert np.array_equal(session.sync(wanted), engine.logits_after(wanted))
        assert engine.fed - before == fed
        assert session.tokens == wanted


def test_rollback_costs_nothing():
    engine = ContractDouble()
    session = Session(engine)
    session.feed(IDS)
    calls = len(engine.calls)
    session.truncate(4)
    assert len(engine.calls) == calls
    assert session.tokens == IDS[:4]
    assert_consistent(session, engine)
    for n in (6, -1, True, 1.5):
        with pytest.raises(ConfigError, match="holds 5"):
            session.truncate(n)


def test_a_full_cache_is_an_error_with_numbers():
    engine = ContractDouble(capacity=32)
    session = Session(engine)
    session.feed(IDS)
    for call in (session.feed, session.score):
        with pytest.raises(CacheFullError, match=r"holds 30 tokens, 3 more.* 32") as caught:
            call([1, 2, 3])
        assert "sliding" in str(caught.value)
    with pytest.raises(CacheFullError):
        session.sync(list(range(33)))
    assert session.tokens == IDS
    session.feed([1, 2])
    assert session.room == 0


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_failing_engine_leaves_the_session_consistent(failing):
    engine = ContractDouble(chunk_sizes=(1, 8))
    session = Session(engine)
    session.feed(IDS[:8])
    engine.fail_at = 1 + failing
    with pytest.raises(EngineError, match="as told"):
        session.feed(IDS[8:])
    assert session.tokens == IDS[: 8 * failing]
    assert_consistent(session, engine)


def test_an_interrupted_step_leaves_the_session_consistent(monkeypatch):
    engine = ContractDouble(chunk_sizes=(1, 8))
    session = Session(engine)
    step = engine.step

    def interrupt(*args):
        step(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        session.feed(IDS)
    monkeypatch.undo()
    assert session.tokens == []
    assert_consistent(session, engine)


@pytest.mark.parametrize("bad", [[], [97], [-1], ["a"], [1.5], [True], [[1, 2]], [[1], [1, 2]], 5])
def test_what_is_no_list_of_ids_is_refused(bad):
    engine = ContractDouble()
    session = Session(engine)
    for call in (session.feed, session.score, session.sync):
        with pytest.raises(ConfigError):
            call(bad)
    assert engine.calls == []


def test_the_history_cannot_be_written():
    session = Session(ContractDouble())
    session.feed(IDS)
    with pytest.raises(ValueError, match="read-only"):
        session.history[0] = 1


def test_unknown_policy():
    with pytest.raises(ConfigError, match="'slide'; it must be one of: error, sliding"):
        Session(ContractDouble(), "slide")
