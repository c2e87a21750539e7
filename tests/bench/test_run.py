"""A benchmark of a tiny bundle: every figure is there, and the counts add up."""

from __future__ import annotations

import json

import pytest

from glmlite.bench.bandwidth import Bandwidth
from glmlite.bench.counting import CountingEngine
from glmlite.bench.measure import WARM_UP_TOKENS
from glmlite.bench.options import CONTEXT_STEPS, MESSAGE_TOKENS, BenchOptions
from glmlite.bench.report import Answers, BenchReport, ContextPoint, Spread
from glmlite.bench.run import decode_bytes, run_bench
from glmlite.bundle import Bundle
from glmlite.bundle.contents import read_index
from glmlite.errors import ConfigError
from glmlite.model.parameters import EMBEDDING
from glmlite.runtime.chunks import plan_chunks
from glmlite.runtime.engines import EngineOptions

QUICK = {"repeats": 2, "bandwidth": False, "contexts": (), "second_turn": False}


def run(path, engine="reference", engine_options=None, **options) -> BenchReport:
    return run_bench(path, engine, engine_options, BenchOptions(**(QUICK | options)))


def answer_calls(prompt: int, new: int, sizes=(0,)) -> tuple[int, int]:
    """Steps and tokens of one answer; the last token is sampled and not fed."""
    return len(plan_chunks(prompt, sizes)) + new - 1, prompt + new - 1


def test_answers_take_the_steps_that_they_must(tiny_bundle):
    report = run(tiny_bundle, prompt_tokens=700, new_tokens=5, repeats=3)
    calls = [answer_calls(700, WARM_UP_TOKENS), *[answer_calls(700, 5)] * 3]
    assert report.calls.steps == sum(steps for steps, _tokens in calls)
    assert report.calls.tokens == sum(tokens for _steps, tokens in calls)
    assert report.calls.decode_steps == WARM_UP_TOKENS - 1 + 3 * 4
    answers = report.answers
    assert answers.token_seconds.count == 3 * 4
    assert answers.first_token_seconds.count == answers.host_seconds.count == 3
    assert not report.interrupted


def test_a_curve_feeds_the_cache_once(tiny_bundle):
    contexts = (200, 40)
    report = run(tiny_bundle, prompt_tokens=10, new_tokens=2, contexts=contexts)
    assert [point.context for point in report.contexts] == [40, 200]
    assert {point.token_seconds.count for point in report.contexts} == {CONTEXT_STEPS}
    answers = answer_calls(10, WARM_UP_TOKENS)[1] + 2 * answer_calls(10, 2)[1]
    assert report.calls.tokens == answers + 200 + 2 * (CONTEXT_STEPS + 1)


def test_a_second_turn_feeds_the_message_only(tiny_bundle):
    report = run(tiny_bundle, prompt_tokens=10, new_tokens=2, second_turn=True)
    turn = report.second_turn
    assert (turn.conversation_tokens, turn.new_tokens) == (1500, MESSAGE_TOKENS)
    assert turn.seconds.count == 2
    answers = answer_calls(10, WARM_UP_TOKENS)[1] + 2 * answer_calls(10, 2)[1]
    assert report.calls.tokens == answers + 1500 + MESSAGE_TOKENS * (1 + 2)
    assert turn.share == turn.seconds.median / turn.cold_seconds


def test_lengths_follow_the_cache_where_none_are_named():
    assert BenchOptions().lengths(2304) == (512, 64)
    assert BenchOptions().lengths(96) == (48, 48)
    assert BenchOptions(new_tokens=90).lengths(96) == (6, 90)
    assert BenchOptions(prompt_tokens=94).lengths(96) == (94, 2)
    assert BenchOptions(prompt_tokens=96, new_tokens=2).prompt_tokens == 96
    assert BenchOptions(prompt_tokens=95, new_tokens=2).lengths(96) == (95, 2)
    with pytest.raises(ConfigError, match=r"96 tokens and an answer of 2 .* 96 tokens"):
        BenchOptions(prompt_tokens=96, new_tokens=2).lengths(96)


def test_only_contexts_and_conversations_that_fit_are_measured():
    options = BenchOptions()
    assert options.fitting_contexts(2304) == (64, 512, 1024, 2000)
    assert options.fitting_contexts(64 + CONTEXT_STEPS + 1) == (64,)
    assert options.fitting_contexts(64 + CONTEXT_STEPS) == ()
    assert BenchOptions(contexts=()).fitting_contexts(8) == ()
    assert options.conversation(2304) == (1500, 32)
    assert options.conversation(512) == (480, 32)
    assert options.conversation(40) == (35, 5)
    assert options.conversation(2) is None


def test_contexts_that_were_named_must_fit(tiny_bundle, monkeypatch):
    options = BenchOptions(contexts=(600, 64, 600))
    assert options.fitting_contexts(600 + CONTEXT_STEPS + 1) == (64, 600)
    with pytest.raises(ConfigError, match=r"of 600 tokens and the 9 .* of 608 tokens"):
        options.fitting_contexts(600 + CONTEXT_STEPS)
    monkeypatch.setattr(CountingEngine, "step", lambda *_arguments: pytest.fail("measured"))
    with pytest.raises(ConfigError, match=r"context of 5000 tokens .* cache of 4096 tokens"):
        run(tiny_bundle, prompt_tokens=10, new_tokens=2, contexts=(64, 5000))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeats": 0}, "repeats is 0"),
        ({"new_tokens": 1}, "new_tokens is 1"),
        ({"prompt_tokens": 0}, "prompt_tokens is 0"),
        ({"contexts": (64, -1)}, "contexts is -1"),
        ({"batch": 0}, "batch is 0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        BenchOptions(**options)


def test_a_batch_needs_the_rows(tiny_bundle):
    with pytest.raises(ConfigError, match="--batch 2 needs a bundle of that many rows") as caught:
        run(tiny_bundle, batch=2)
    assert "export.batch_size=2" in str(caught.value)


@pytest.mark.lite
def test_an_engine_in_a_worker_process(bundles):
    path = bundles.export("glm2")
    bundles.require(in_toolchain=True)
    options = EngineOptions(toolchain=bundles.toolchain, threads=1)
    report = run(path, "lite", options, prompt_tokens=20, new_tokens=4)
    assert report.subject.engine == "lite"
    assert report.subject.versions["lite"] == "2.0.0"
    assert report.memory.holder == "worker"
    assert report.memory.peak > 10 << 20
    assert report.answers.token_seconds.count == 2 * 3
    assert report.settings.threads == 1


def test_a_token_needs_all_weights_but_the_embeddings_other_rows(tiny_bundle):
    bundle = Bundle.open(tiny_bundle)
    index = read_index(bundle.path / bundle.manifest.weights.index)
    rows, hidden = index.tensors[EMBEDDING]["shape"]
    total = sum(entry["nbytes"] for entry in index.tensors.values())
    assert decode_bytes(index) == total - (rows - 1) * hidden * 4
    report = run(tiny_bundle, prompt_tokens=4, new_tokens=2)
    assert report.subject.decode_bytes == decode_bytes(index)
    assert report.subject.weights_bytes == total


def test_ctrl_c_keeps_what_was_measured(tiny_bundle, monkeypatch):
    calls = 0
    step = CountingEngine.step

    def interrupted(self, *arguments):
        nonlocal calls
        calls += 1
        if self.calls.tokens > 60:  # in the curve, after the warm-up and the answers
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(CountingEngine, "step", interrupted)
    report = run(tiny_bundle, prompt_tokens=10, new_tokens=4, contexts=(5, 900), second_turn=True)
    assert report.interrupted
    assert report.answers is not None
    assert [point.context for point in report.contexts] == [5]
    assert report.second_turn is None
    assert report.calls.steps == calls - 1
    assert report.memory.peak > 0


SHAPE = {
    "schema": 1,
    "subject": {
        "path": str,
        "family": str,
        "layers": int,
        "hidden_size": int,
        "quantization": str,
        "weights_bytes": int,
        "decode_bytes": int,
        "capacity": int,
        "engine": str,
        "engine_reason": str,
        "versions": {"glmlite": str, "python": str, "numpy": str},
    },
    "machine": {
        "system": str,
        "cpu": str,
        "cores": int,
        "cpu_features": list,
        "memory_total": int,
    },
    "settings": {
        "prompt_tokens": 10,
        "new_tokens": 3,
        "repeats": 2,
        "batch": 1,
        "threads": None,
        "seed": 0,
    },
    "bandwidth": {
        "bytes_per_second": float,
        "median": float,
        "threads": int,
        "buffer_bytes": int,
        "passes": int,
        "method": str,
    },
    "load_seconds": float,
    "warm_up_seconds": float,
    "answers": {
        name: {"median": float, "least": float, "most": float, "count": int}
        for name in (
            "first_token_seconds",
            "prefill_tokens_per_second",
            "decode_tokens_per_second",
            "token_seconds",
            "host_seconds",
        )
    },
    "contexts": list,
    "second_turn": {
        "conversation_tokens": int,
        "new_tokens": int,
        "seconds": {"median": float, "least": float, "most": float, "count": 2},
        "cold_seconds": float,
        "share": float,
    },
    "batch": None,
    "memory": {"holder": "this process", "peak": int, "anonymous": int, "mapped": int},
    "calls": {"steps": int, "decode_steps": int, "tokens": int},
    "interrupted": False,
    "weights_bytes_per_second": float,
    "bandwidth_share": float,
    "decode_growth": float,
}


def assert_shape(found, expected, where="report"):
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key, value in expected.items():
            assert_shape(found[key], value, f"{where}.{key}")
    elif isinstance(expected, type):
        assert isinstance(found, expected), where
    else:
        assert found == expected, where


def test_the_json_has_a_stable_shape(tiny_bundle, monkeypatch):
    measured = Bandwidth(2e9, 1e9, 2, 1 << 20, 1, "int8 maximum")
    monkeypatch.setattr("glmlite.bench.run.measure_bandwidth", lambda threads: measured)
    report = run(
        tiny_bundle,
        prompt_tokens=10,
        new_tokens=3,
        contexts=(4, 8),
        second_turn=True,
        bandwidth=True,
    )
    data = json.loads(json.dumps(report.to_dict()))
    assert_shape(data, SHAPE)
    assert_shape(
        data["contexts"][0],
        {"context": 4, "token_seconds": SHAPE["answers"]["token_seconds"]},
    )


def test_derived_figures():
    spread = Spread.of([0.2, 0.1, 0.4])
    assert spread == Spread(0.2, 0.1, 0.4, 3)
    assert spread.rate(2) == Spread(10, 5, 20, 3)
    report = BenchReport.__new__(BenchReport)
    report.contexts = tuple(ContextPoint(c, Spread.of([s])) for c, s in ((64, 0.2), (2000, 0.23)))
    assert report.decode_growth == pytest.approx(0.15)
    report.answers = Answers(spread, spread, spread, spread, spread)
    report.subject = type("Subject", (), {"decode_bytes": 3e9})
    report.bandwidth = Bandwidth(20e9, 19e9, 2, 1, 1, "")
    assert report.weights_bytes_per_second == pytest.approx(15e9)
    assert report.bandwidth_share == pytest.approx(0.75)
