"""Several cache lengths: the cache moves up while a conversation grows."""

from __future__ import annotations

import numpy as np
import pytest

from glmlite.bundle import Bundle
from glmlite.errors import EngineError
from tests.engines.bundles import Bundles, pairs
from tests.engines.driving import FP32, Running, decode, one_row, prefill

EXPORT = {"export__cache_length": [28, 96], "export__prefill_tokens": [7]}
SUBJECTS = ("prefix",)


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("running", pairs(SUBJECTS), indirect=True)
def test_growing_in_prefill_and_decode(running: Running, size: int) -> None:
    """The long prompt crosses 28 slots itself, the short one's answer does."""
    engine = running.engine
    assert engine.spec.capacity == 96 - 5
    for case in running.subject.cases:
        cache = engine.new_cache()
        first = prefill(engine, cache, case, size, FP32)
        assert decode(engine, cache, case, first, FP32) == case.greedy_ids


@pytest.mark.parametrize("running", pairs(SUBJECTS), indirect=True)
def test_full_to_the_last_slot(running: Running) -> None:
    engine = running.engine
    cache, capacity = engine.new_cache(), engine.spec.capacity
    ids = [int(i) for i in np.random.default_rng(3).integers(3, 200, capacity)]
    for _ in one_row(engine, cache, ids[:-1], 7):
        pass
    ((held, logits),) = one_row(engine, cache, ids[-1:], 1, position=capacity - 1)
    assert held == capacity
    assert np.isfinite(logits).all()
    with pytest.raises(EngineError, match=str(capacity)):
        list(one_row(engine, cache, [5], 1, position=capacity))
    # The refused step changed nothing.
    ((_, again),) = one_row(engine, cache, ids[-1:], 1, position=capacity - 1)
    assert np.abs(again - logits).max() < 1e-6


def test_every_length_has_its_graphs_and_one_weights_file(bundles: Bundles) -> None:
    bundle = Bundle.open(bundles.export("prefix", **EXPORT))
    graphs = {(g.cache_length, g.tokens) for g in bundle.manifest.graphs}
    assert graphs == {(s, t) for s in (28, 96) for t in (1, 7)}
    large = [p for p in bundle.path.rglob("*") if p.stat().st_size >= bundle.manifest.weights.bytes]
    assert len(large) == 1
