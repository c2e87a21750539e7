"""Every model on every engine: greedy ids exactly, logits closely, however a prompt is cut."""

from __future__ import annotations

import pytest

from tests.engines import subjects
from tests.engines.bundles import pairs
from tests.engines.driving import FP32, Running, decode, prefill

# MindSpore in the toolchain runs the same graphs as here: models that differ most are enough.
IN_TOOLCHAIN = (subjects.GOLDEN, "glm2_32k", "odd_sizes", "prefix")
DYNAMIC = ("reference", "onnx", "onnx_standard")
RUNS = [
    *pairs(subjects.NAMES, ("reference", "mindspore", "lite_worker", "onnx")),
    *pairs(IN_TOOLCHAIN, ("mindspore_worker", "onnx_standard")),
    *pairs(("prefix_wide",), ("onnx",)),
    *pairs((subjects.GOLDEN, "prefix_wide"), ("onnx_grouped",)),
]


@pytest.mark.parametrize("size", [1, 7, 32])
@pytest.mark.parametrize("running", RUNS, indirect=True)
def test_greedy_whatever_the_chunks(running: Running, size: int) -> None:
    """All of every golden answer; of our own models' answers ten tokens, all for one size."""
    engine = running.engine
    assert running.takes(size)
    steps = None if size == 7 or running.subject.name == subjects.GOLDEN else 10
    for case in running.subject.cases:
        cache = engine.new_cache()
        first = prefill(engine, cache, case, size, FP32)
        reply = decode(engine, cache, case, first, FP32, steps=steps)
        assert reply == case.greedy_ids[: len(reply)]
        assert len(reply) > 10


@pytest.mark.parametrize("running", pairs(subjects.NAMES, DYNAMIC), indirect=True)
def test_a_dynamic_engine_takes_any_chunk(running: Running) -> None:
    """A chunk of padding and all, longer than any prompt."""
    for case in running.subject.cases:
        cache = running.engine.new_cache()
        first = prefill(running.engine, cache, case, 80, FP32)
        assert decode(running.engine, cache, case, first, FP32) == case.greedy_ids


@pytest.mark.parametrize("running", pairs(("prefix",)), indirect=True)
def test_two_caches_do_not_mix(running: Running) -> None:
    """Two conversations of one engine, their steps interleaved."""
    engine, (one, two) = running.engine, running.subject.cases
    first, second = engine.new_cache(), engine.new_cache()
    a = prefill(engine, first, one, 7, FP32)
    b = prefill(engine, second, two, 7, FP32)
    assert decode(engine, first, one, a, FP32) == one.greedy_ids
    assert decode(engine, second, two, b, FP32) == two.greedy_ids
