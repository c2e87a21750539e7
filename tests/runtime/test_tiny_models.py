"""Sessions on the NumPy engine: any chunks give the ids of the official code and the oracle."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from glmlite.checkpoint import open_checkpoint
from glmlite.model.config import from_huggingface
from glmlite.runtime.engines.reference import ReferenceEngine
from glmlite.runtime.generation import generate
from glmlite.runtime.sampling import Sampler, SamplingParams
from glmlite.runtime.session import Session
from tests.engines.subjects import GOLDEN

TOLERANCE = 1e-4
SIZES = [(0,), (1,), (1, 7), (7,), (1, 32), (1, 100)]


class FixedSizes:
    """The same engine behind graphs of fixed sizes, so that chunks are padded."""

    def __init__(self, engine, chunk_sizes, score_sizes=()):
        self.spec = dataclasses.replace(
            engine.spec, chunk_sizes=chunk_sizes, score_sizes=score_sizes
        )
        self.new_cache, self.step, self.score = engine.new_cache, engine.step, engine.score


@pytest.fixture(scope="module", params=[GOLDEN, "glm2", "glm3_32k"])
def subject(request, bundles):
    return bundles.subject(request.param)


def make(subject, sizes=(0,), score_sizes=(), rows=1):
    config = from_huggingface(json.loads((subject.checkpoint / "config.json").read_text()))
    source = open_checkpoint(subject.checkpoint)
    engine = ReferenceEngine(config, source, batch_size=rows, cache_length=subject.cache_length)
    return FixedSizes(engine, sizes, score_sizes)


def answer(session, prompt, count):
    sampler = Sampler(SamplingParams(), session.vocab_size)
    return [p.token for p in generate(session, prompt, sampler=sampler, max_new_tokens=count)]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("rows", [1, 3])
def test_any_tiling_gives_the_greedy_ids(subject, sizes, rows):
    engine = make(subject, sizes, rows=rows)
    for case in subject.cases:
        count = len(case.greedy_ids)
        assert answer(Session(engine), case.prompt, count) == case.greedy_ids


@pytest.mark.parametrize("score_sizes", [(), (7,), (1, 32), (0,)])
def test_scores(subject, score_sizes):
    engine = make(subject, (1, 7), score_sizes)
    for case in subject.cases:
        rows = Session(engine).score(case.prompt)
        assert np.abs(rows - case.logits[: len(case.prompt)]).max() < TOLERANCE


def test_reuse_and_rollback_change_nothing(subject):
    session = Session(make(subject, (1, 7)))
    for case in [*subject.cases, *subject.cases]:
        count = len(case.greedy_ids)
        assert answer(session, case.prompt, count) == case.greedy_ids
        for kept in (count // 2, 3):
            session.sync(case.prompt)
            session.feed(case.greedy_ids[:kept])
            session.truncate(len(case.prompt) + 2)
            known = case.prompt + case.greedy_ids[:kept]
            assert np.abs(session.sync(known) - case.logits[len(known) - 1]).max() < TOLERANCE
