"""What ONNX graphs compute, on plain ONNX Runtime: the official code's results and the oracle's."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from glmlite.bundle import Bundle
from tests.engines.bundles import Bundles
from tests.engines.subjects import GOLDEN
from tests.export.onnx_models import ALL, TOLERANCE, Graph, export, logits_of
from tests.fixtures import drawing
from tests.fixtures.models import MODELS

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

LENGTH = 45


@pytest.fixture(scope="module", params=["ort", "standard"])
def flavor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def made(flavor: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Model name -> (bundle, ids, the oracle's logits of them); each is made once a flavor."""
    known: dict[str, tuple[Bundle, list[int], NDArray[np.float64]]] = {}

    def make(name: str) -> tuple[Bundle, list[int], NDArray[np.float64]]:
        if name not in known:
            model = ALL[name]
            ids = drawing.draw_ids(model, LENGTH, 7)
            bundle = export(model, tmp_path_factory.mktemp(name), flavor)
            known[name] = (bundle, ids, logits_of(model, ids))
        return known[name]

    return make


def off(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    return float(np.abs(found.astype(np.float64) - wanted).max())


def last(logits: NDArray[Any]) -> NDArray[Any]:
    """[B, V] of either flavor's logits."""
    return logits[:, -1] if logits.ndim == 3 else logits


@pytest.mark.parametrize("size", [1, 7, 32])
def test_goldens_of_the_official_code(bundles: Bundles, flavor: str, size: int) -> None:
    """Greedy answers at every chunk size; score graphs are the same numbers."""
    subject = bundles.subject(GOLDEN)
    path = bundles.export(GOLDEN, export__format="onnx", export__flavor=flavor)
    graph = Graph(Bundle.open(path))
    for case in subject.cases:
        graph.clear(1)
        prompt = case.prompt
        for start in range(0, len(prompt), size):
            piece = prompt[start : start + size]
            logits = last(graph.run([piece], [start]))
            assert off(logits[0], case.logits[start + len(piece) - 1]) < TOLERANCE
        answer: list[int] = []
        while len(answer) < len(case.greedy_ids):
            answer.append(int(logits[0].argmax()))
            position = len(prompt) + len(answer) - 1
            if position < len(case.logits):
                logits = last(graph.run([answer[-1:]], [position]))
                assert off(logits[0], case.logits[position]) < TOLERANCE
        assert answer == case.greedy_ids


@pytest.mark.parametrize("name", list(ALL))
def test_every_tiny_model(made: Any, name: str) -> None:
    """Chunks of several sizes, every row's logits, then token by token."""
    bundle, ids, wanted = made(name)
    is_ort = bundle.manifest.graphs[0].flavor == "ort"
    score, step = Graph(bundle, score=True), Graph(bundle)
    found = score.run([ids], [0], all_logits=1 if is_ort else None)
    assert found.shape == (1, LENGTH, wanted.shape[1])
    assert off(found[0], wanted) < TOLERANCE
    position = 0
    for size in (1, 7, 1, 1, 30, 1, 1, 1, 1, 1):
        logits = last(step.run([ids[position : position + size]], [position]))
        position += size
        assert logits.shape == (1, wanted.shape[1])
        assert off(logits[0], wanted[position - 1]) < TOLERANCE


def test_a_later_chunk_may_be_scored(made: Any) -> None:
    bundle, ids, wanted = made("wide_prefix")
    graph = Graph(bundle, score=True)
    choose = {"all_logits": 1} if bundle.manifest.graphs[0].flavor == "ort" else {}
    graph.run([ids[:20]], [0], **choose)
    for start, size in ((20, 9), (29, 1), (30, 15)):
        found = graph.run([ids[start : start + size]], [start], **choose)
        assert off(found[0], wanted[start : start + size]) < TOLERANCE


@pytest.mark.parametrize("name", ["wide_glm2", "wide_prefix", "odd_sizes"])
def test_rows_at_different_positions_decode_together(made: Any, name: str) -> None:
    bundle, ids, wanted = made(name)
    graph, full = Graph(bundle), Graph(bundle)
    lengths = [3, 17, 30]
    parts = []
    for length in lengths:
        full.clear(1)
        full.run([ids[:length]], [0])
        parts.append(full.cache)
    graph.clear(3)
    graph.cache = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    for step in range(6):
        at = [length + step for length in lengths]
        logits = last(graph.run([[ids[p]] for p in at], at))
        assert off(logits, wanted[at]) < TOLERANCE


@pytest.mark.parametrize("name", ["wide_glm2", "glm2"])
def test_padding_and_idle_rows(made: Any, name: str) -> None:
    """A first chunk of three rows, one full, one padded, one idle; then one of them idles."""
    bundle, ids, wanted = made(name)
    graph = Graph(bundle)
    graph.clear(3)
    chunk = [ids[:8], [*ids[:5], 9, 9, 9], [9] * 8]
    logits = last(graph.run(chunk, [0, 0, 0], [8, 5, 0]))
    assert off(logits[:2], wanted[[7, 4]]) < TOLERANCE
    for step in range(3):
        at = [8 + step, 5, 0 + step]
        tokens = [[ids[at[0]]], [9], [ids[at[2]]]]
        before = [a[1, :, :5].copy() for a in graph.cache]
        logits = last(graph.run(tokens, at, [1, 0, 1]))
        assert off(logits[[0, 2]], wanted[[at[0], at[2]]]) < TOLERANCE
        for array, old in zip(graph.cache, before, strict=True):
            assert np.array_equal(array[1, :, :5], old)
    at = [11, 5, 3]
    logits = last(graph.run([[ids[p]] for p in at], at))
    assert off(logits, wanted[at]) < TOLERANCE


def test_padding_of_a_later_chunk(made: Any) -> None:
    bundle, ids, wanted = made("wide_glm3_32k")
    graph = Graph(bundle)
    position = 0
    for valid in (7, 3, 5, 1, 7):
        piece = ids[position : position + valid]
        logits = last(graph.run([piece + [9] * (7 - valid)], [position], [valid]))
        position += valid
        assert off(logits[0], wanted[position - 1]) < TOLERANCE


def test_all_logits_is_off_by_default(made: Any, flavor: str) -> None:
    if flavor == "standard":
        pytest.skip("the standard flavor has a score graph of its own")
    bundle, ids, _wanted = made("wide_glm2")
    logits = Graph(bundle).run([ids[:9]], [0])
    assert logits.shape == (1, 1, MODELS["glm2"].vocab_size)
    alone = Graph(bundle).run([ids[:9]], [0], all_logits=0)
    every = Graph(bundle).run([ids[:9]], [0], all_logits=1)
    assert np.array_equal(logits, alone)
    assert off(every[:, -1:], logits) < 1e-5


def test_the_cache_may_be_shorter_than_the_longest(made: Any) -> None:
    """S is dynamic: an engine may begin small and grow."""
    bundle, ids, wanted = made("wide_prefix")
    graph = Graph(bundle, slots=60)
    assert off(last(graph.run([ids], [0]))[0], wanted[-1]) < TOLERANCE
    graph = Graph(bundle, slots=graph.prefix_length + LENGTH)  # filled to the last slot
    graph.run([ids[:-1]], [0])
    assert off(last(graph.run([ids[-1:]], [LENGTH - 1]))[0], wanted[-1]) < TOLERANCE


def test_a_position_behind_the_cache_writes_nothing_behind_it(made: Any) -> None:
    """Whatever is fed, memory beyond the cache is left alone."""
    bundle, ids, _wanted = made("wide_glm2")
    graph = Graph(bundle, slots=16)
    backing = [np.full((2, *a.shape[1:]), 7, np.float32) for a in graph.cache]
    graph.cache = [array[:1] for array in backing]
    for array in graph.cache:
        array[:] = 0
    graph.run([ids[:16]], [0])
    graph.run([ids[:1]], [16])
    graph.run([ids[:3]], [15])
    graph.run([ids[:1]], [40])
    for far in ([ids[:17]], [0]), ([ids[:1]], [2**30]), ([ids[:1]], [-9]):
        with contextlib.suppress(RuntimeError):  # ONNX Runtime may also refuse
            graph.run(*far)
    for array in backing:
        assert (array[1] == 7).all()
