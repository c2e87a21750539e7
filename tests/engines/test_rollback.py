"""Rolling back is setting the position; what is fed then replaces what was there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.engines.bundles import pairs
from tests.engines.driving import FP32, Running, close, decode, one_row, prefill
from tests.fixtures import drawing
from tests.fixtures.models import MODELS
from tests.oracle import forward64

SUBJECTS = ("prefix",)


def oracle(name: str, ids: list[int]) -> NDArray[Any]:
    """Logits [T, V] of a fixture."""
    model = MODELS[name]
    prefix = drawing.prefix_cache(model)
    tensors = drawing.tensors(model)
    return forward64.forward(tensors, model.config, ids, rope=model.rope, prefix=prefix).logits


@pytest.mark.parametrize("keep", [0, 1, 10, 33])
@pytest.mark.parametrize("running", pairs(SUBJECTS), indirect=True)
def test_another_continuation(running: Running, keep: int) -> None:
    engine, (short, long) = running.engine, running.subject.cases
    cache = engine.new_cache()
    decode(engine, cache, long, prefill(engine, cache, long, 32, FP32), FP32)

    ids = long.prompt[:keep] + short.prompt + long.prompt[:9]
    wanted = oracle(running.subject.name, ids)
    for held, logits in one_row(engine, cache, ids[keep:], 7, position=keep):
        close(logits, wanted[held - 1], FP32, f"{held} tokens after keeping {keep}")


@pytest.mark.parametrize("running", pairs(SUBJECTS), indirect=True)
def test_the_same_token_again(running: Running) -> None:
    """Ten times back and forth by one token changes nothing."""
    engine, case = running.engine, running.subject.cases[0]
    cache = engine.new_cache()
    first = prefill(engine, cache, case, 7, FP32)
    for token in np.random.default_rng(1).integers(3, engine.spec.vocab_size, 10):
        list(one_row(engine, cache, [int(token)], 1, position=len(case.prompt)))
    assert decode(engine, cache, case, first, FP32) == case.greedy_ids
