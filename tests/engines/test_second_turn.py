"""A second turn feeds only what is new: tokens are counted where they reach the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glmlite
from glmlite.bundle import Bundle
from glmlite.runtime.engines import OpenedEngine
from glmlite.runtime.engines.base import Cache, Engine, EngineSpec, Float32Array, Int32Array
from glmlite.runtime.model import Model
from glmlite.runtime.session import Session
from glmlite.text import Tokenizer
from tests.engines.bundles import Bundles, pairs
from tests.engines.driving import FP32, Running, close


class Counting:
    """An engine that counts the tokens of every call to the one behind it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.fed = 0

    @property
    def spec(self) -> EngineSpec:
        return self._engine.spec

    def new_cache(self) -> Cache:
        return self._engine.new_cache()

    def step(self, ids: Int32Array, position: Any, valid: Any, cache: Cache) -> Float32Array:
        self.fed += int(valid.sum())
        return self._engine.step(ids, position, valid, cache)

    def score(self, ids: Int32Array, position: Any, valid: Any, cache: Cache) -> Float32Array:
        self.fed += int(valid.sum())
        return self._engine.score(ids, position, valid, cache)

    def close(self) -> None:
        self._engine.close()

    def taken(self) -> int:
        """Tokens since the last call of this method."""
        fed, self.fed = self.fed, 0
        return fed


@pytest.mark.parametrize("running", pairs(("prefix",)), indirect=True)
def test_session_feeds_what_is_new(running: Running) -> None:
    counting = Counting(running.engine)
    session, case = Session(counting), running.subject.cases[1]
    ids = case.ids
    close(session.sync(ids[:30]), case.logits[29], FP32, "first turn")
    assert counting.taken() == 30
    close(session.sync(ids[:50]), case.logits[49], FP32, "second turn")
    assert counting.taken() == 20
    close(session.sync(ids[:50]), case.logits[49], FP32, "the same again")
    assert counting.taken() == 1

    session.sync([*ids[:35], 9, 8, 7])
    assert counting.taken() == 3
    close(session.sync(ids[:51]), case.logits[50], FP32, "back on the first path")
    assert counting.taken() == 51 - 35

    session.truncate(40)
    close(session.feed(ids[40:45]), case.logits[44], FP32, "after truncating")
    assert counting.taken() == 5
    assert session.tokens == ids[:45]


@pytest.mark.parametrize("running", pairs(("prefix",)), indirect=True)
def test_session_scores_without_a_score_graph(running: Running) -> None:
    counting, case = Counting(running.engine), running.subject.cases[1]
    session = Session(counting)
    session.feed(case.ids[:10])
    close(session.score(case.ids[10:30]), case.logits[10:30], FP32, "scores")
    assert counting.taken() == 30
    logits = session.feed(case.ids[30:40])
    close(logits, case.logits[39], FP32, "after scoring")


@pytest.fixture(scope="module", params=["reference", "mindspore"])
def demo(request: pytest.FixtureRequest, bundles: Bundles) -> Any:
    """The demo model on an engine that counts."""
    path: Path = bundles.demo()
    bundle = Bundle.open(path)
    assert bundle.tokenizer_path is not None
    tokenizer = Tokenizer(bundle.tokenizer_path, bundle.manifest.family)
    with bundles.open(path, request.param) as engine:
        counting = Counting(engine)
        yield Model(bundle, tokenizer, OpenedEngine(counting, request.param, "")), counting


@pytest.mark.mindspore
def test_every_token_of_a_conversation_is_fed_once(demo: tuple[Model, Counting]) -> None:
    model, counting = demo
    counting.taken()
    session, messages = model.session(), []
    for question in ("你好", "What is glmlite?", "谢谢"):
        before = len(session.tokens)
        messages.append({"role": "user", "content": question})
        pieces = list(model.chat(messages, session=session, max_new_tokens=40))
        assert pieces[-1].finish_reason in ("stop", "length")
        messages.extend(pieces[-1].reply)
        assert counting.taken() == len(session.tokens) - before
    assert len(session.tokens) > 60


@pytest.mark.mindspore
def test_without_a_session_the_model_remembers(demo: tuple[Model, Counting]) -> None:
    model, counting = demo
    messages: list[Any] = [{"role": "user", "content": "你好"}]
    first = list(model.chat(messages, max_new_tokens=30))
    messages.extend(first[-1].reply)
    messages.append({"role": "user", "content": "你是谁？"})
    counting.taken()
    second = list(model.chat(messages, max_new_tokens=30))
    fed = counting.taken()
    assert model.tokenizer is not None
    whole = len(model.tokenizer.chat_ids(messages))
    assert fed < len(second) + whole - len(model.tokenizer.chat_ids(messages[:1]))
    assert "".join(piece.text for piece in second)


def test_public_api_gives_the_same_ids(bundles: Bundles) -> None:
    """`glmlite.load` and `generate` on ids, greedy: what the engine says, token by token."""
    case = bundles.subject("one_group").cases[1]
    with glmlite.load(bundles.export("one_group"), engine="reference") as model:
        pieces = list(model.generate(case.prompt, max_new_tokens=len(case.greedy_ids)))
        assert [piece.token for piece in pieces] == case.greedy_ids
        logits = model.session().score(case.ids)
        assert np.abs(logits - case.logits).max() < FP32
