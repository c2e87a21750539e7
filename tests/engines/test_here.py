"""Graphs that this interpreter's MindSpore exported itself (`running` prefers the toolchain's)."""

from __future__ import annotations

import itertools

import pytest

from glmlite.bundle import Bundle
from tests.engines.bundles import Bundles
from tests.engines.driving import FP32, decode, prefill
from tests.engines.subjects import GOLDEN

pytestmark = pytest.mark.mindspore


@pytest.mark.parametrize("name", [GOLDEN, "prefix"])
def test_exported_and_run_here(bundles: Bundles, name: str) -> None:
    path = bundles.export(name, where="here")
    subject = bundles.subject(name)
    with bundles.open(path, "mindspore") as engine:
        for size, case in itertools.product((1, 7, 32), subject.cases):
            cache = engine.new_cache()
            first = prefill(engine, cache, case, size, FP32)
            steps = None if size == 7 else 10
            reply = decode(engine, cache, case, first, FP32, steps=steps)
            assert reply == case.greedy_ids[: len(reply)]


def test_what_the_manifest_says(bundles: Bundles) -> None:
    manifest = Bundle.open(bundles.export("prefix", where="here")).manifest
    phases = sorted((g.phase, g.tokens, g.cache_length, g.batch_size) for g in manifest.graphs)
    assert phases == [("decode", 1, 96, 1), ("prefill", 7, 96, 1), ("prefill", 32, 96, 1)]
    assert manifest.prefix_length == 5
    assert manifest.tokenizer is None
    assert manifest.family == "glm2"
    assert set(manifest.files) >= {g.file for g in manifest.graphs}
