"""Model: arguments are checked at the call, sessions are lent, the demo model answers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from glmlite.checkpoint import open_checkpoint
from glmlite.errors import BundleError, ConfigError, TokenizerError
from glmlite.model.config import from_huggingface
from glmlite.runtime.engines import OpenedEngine
from glmlite.runtime.engines.reference import ReferenceEngine
from glmlite.runtime.model import Model, load
from tests.runtime.conftest import DEMO
from tests.runtime.contract_double import ContractDouble

PROMPT = [300, 301, 302]


def make(tokenizer, engine=None):
    engine = engine or ContractDouble(tokenizer.num_ids if tokenizer else 500, capacity=128)
    bundle = SimpleNamespace(path=Path("some/bundle"))
    return Model(bundle, tokenizer, OpenedEngine(engine, "double", "a test"))


def tokens(pieces):
    return [p.token for p in pieces]


def test_ids_without_a_tokenizer():
    with make(None) as model:
        pieces = list(model.generate(PROMPT, max_new_tokens=6))
        assert tokens(pieces) == model._engine.greedy(PROMPT, 6)
        assert {p.text for p in pieces} == {""}
        for call in (
            lambda: model.generate("text"),
            lambda: model.generate(PROMPT, stop=["x"]),
            lambda: model.chat([{"role": "user", "content": "hi"}]),
        ):
            with pytest.raises(TokenizerError, match="some/bundle has no tokenizer"):
                call()


def test_a_base_model_generates_and_does_not_chat(base):
    model = make(base)
    list(model.generate("hello", max_new_tokens=2))
    with pytest.raises(TokenizerError, match="base model"):
        model.chat([{"role": "user", "content": "hi"}])


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"stop": [""]}, "stop string"),
        ({"stop": 3}, "stop string"),
        ({"session": 3}, "session is 3"),
        ({"overflow": "slide"}, "overflow"),
        ({"temperature": -1}, "temperature"),
        ({"top_q": 1}, "did you mean top_"),
    ],
)
def test_arguments_are_checked_at_the_call(glm2, options, found):
    model = make(glm2)
    for call in (model.generate, model.chat):
        with pytest.raises(ConfigError, match=found):
            call([], **options)


@pytest.mark.parametrize("ids", [[], ["a"], b"hi", [[1]], [1, 2.5], [-1], [1 << 40], None])
def test_ids_are_checked_at_the_call(glm2, ids):
    with pytest.raises(ConfigError, match=r"Token id"):
        make(glm2).generate(ids)


def test_calls_without_a_session_reuse_the_last_one(glm2):
    model = make(glm2)
    list(model.generate(PROMPT, max_new_tokens=2))
    again = list(model.generate([*PROMPT, 305], max_new_tokens=2))
    assert again[-1].stats.reused_tokens == 3


def test_interleaved_answers_do_not_disturb_each_other():
    model = make(None)
    engine = model._engine
    first, second = (model.generate([start, 4, 5], max_new_tokens=9) for start in (1, 2))
    pairs = list(zip(first, second, strict=True))
    assert [a.token for a, _ in pairs] == engine.greedy([1, 4, 5], 9)
    assert [b.token for _, b in pairs] == engine.greedy([2, 4, 5], 9)


def test_a_seed_makes_sampling_repeatable(glm2):
    model = make(glm2)
    options = {"max_new_tokens": 20, "temperature": 1.0, "top_p": 0.9}
    once = tokens(model.generate(PROMPT, seed=5, **options))
    assert once == tokens(model.generate(PROMPT, seed=5, **options))
    assert once != tokens(model.generate(PROMPT, seed=6, **options))
    assert not set(once) & glm2.never_sampled


def test_the_session_says_what_a_full_cache_means(base):
    model = make(base, ContractDouble(base.num_ids, capacity=8))
    session = model.session(overflow="sliding")
    pieces = list(model.generate(PROMPT, session=session, max_new_tokens=12))
    assert any(p.notices for p in pieces)


def test_the_demo_model_answers_and_remembers():
    """Greedy decoding of the trained demo: a question, then one that continues."""
    from glmlite.text import Tokenizer

    folder = DEMO.parent
    config = from_huggingface(json.loads((folder / "config.json").read_text()))
    engine = ReferenceEngine(config, open_checkpoint(folder), cache_length=256)
    model = make(Tokenizer(DEMO, "glm2"), engine)
    session = model.session()
    messages = [{"role": "user", "content": "你好"}]
    *_, last = model.chat(messages, session=session, max_new_tokens=100)
    assert last.finish_reason == "stop"
    assert last.reply[0]["content"]
    held = len(session)
    messages += [*last.reply, {"role": "user", "content": "What is glmlite?"}]
    *_, last = model.chat(messages, session=session, max_new_tokens=100)
    assert "glmlite" in last.reply[0]["content"].lower()
    assert last.stats.reused_tokens == held


def test_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="no bundle"):
        load(tmp_path)
