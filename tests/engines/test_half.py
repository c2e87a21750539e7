"""float16 graphs: weights, cache and matrix products are half precision."""

from __future__ import annotations

import pytest

from glmlite.bundle import Bundle
from tests.engines.bundles import Bundles, pairs
from tests.engines.driving import FP16, Running, decode, prefill

EXPORT = {"model__dtype": "float16", "export__parity": "full"}


# An fp16 MindIR of MindSpore 2.0 does not open in 2.10, and the reverse neither.
@pytest.mark.parametrize("size", [1, 7, 32])
@pytest.mark.parametrize(
    "running",
    pairs(("fp16_shards",), ("reference", "mindspore_worker", "lite_worker")),
    indirect=True,
)
def test_half_of_the_toolchain(running: Running, size: int, toolchain: str) -> None:
    for case in running.subject.cases:
        cache = running.engine.new_cache()
        first = prefill(running.engine, cache, case, size, FP16)
        assert decode(running.engine, cache, case, first, FP16) == case.greedy_ids


@pytest.mark.mindspore
def test_half_of_this_interpreter(bundles: Bundles) -> None:
    changes = {"model__dtype": "float16", "export__prefill_tokens": [7]}
    path = bundles.export("fp16_shards", where="here", **changes)
    assert Bundle.open(path).manifest.weights.dtype == "float16"
    subject = bundles.subject("fp16_shards")
    with bundles.open(path, "mindspore") as engine:
        for case in subject.cases:
            cache = engine.new_cache()
            first = prefill(engine, cache, case, 7, FP16)
            assert decode(engine, cache, case, first, FP16) == case.greedy_ids
