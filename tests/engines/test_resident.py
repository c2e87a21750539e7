"""Graphs whose cache is in variables, on MindSpore's CPU, against the NumPy reference."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from glmlite.checkpoint import open_checkpoint
from glmlite.errors import EngineError
from glmlite.model.config import from_huggingface
from glmlite.model.reference import forward
from glmlite.runtime.engines import EngineOptions
from glmlite.runtime.engines.graphs import GraphSet
from glmlite.runtime.engines.mindir import MindIREngine
from glmlite.runtime.session import Session
from tests.engines.driving import FP32, close
from tests.engines.test_in_graph_cache import Weights
from tests.fixtures.models import MODELS
from tests.fixtures.writing import write_checkpoint

pytest.importorskip("mindspore")
pytestmark = pytest.mark.mindspore

SHORT = [(1, 24), (7, 24)]
SIZES = [*SHORT, (1, 48)]
IDS = [int(i) for i in np.random.default_rng(4).integers(3, 250, 48)]
OTHER = [int(i) for i in np.random.default_rng(5).integers(3, 250, 48)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Weights:
    folder = tmp_path_factory.mktemp("resident")
    checkpoint = open_checkpoint(write_checkpoint(MODELS["glm2"], folder))
    return Weights(checkpoint, from_huggingface(checkpoint.raw_config))


def _open(weights: Weights, folder, batch: int, sizes) -> MindIREngine:
    from tests.engines.resident_network import export_resident

    graphs = export_resident(weights.config, weights, folder, sizes, batch)
    graph_set = GraphSet(folder, graphs, weights.config, "float32", 0, None, "?")
    return graph_set.open("mindspore", EngineOptions(threads=1), None)


@pytest.fixture(scope="module")
def engine(weights, tmp_path_factory) -> Iterator[MindIREngine]:
    opened = _open(weights, tmp_path_factory.mktemp("resident-1"), 1, SIZES)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def expected(weights):
    return lambda ids: forward(weights.config, weights, [ids])[0]


def test_a_prompt_and_its_continuation(engine, expected):
    session, wanted = Session(engine), expected(IDS)
    close(session.feed(IDS[:9]), wanted[8], FP32, "prompt")
    for position in range(9, 48):  # past 24, into the graphs of the longer cache
        close(session.feed([IDS[position]]), wanted[position], FP32, f"position {position}")


def test_a_rollback_needs_no_feeding(engine, expected):
    session = Session(engine)
    session.feed(IDS[:12])
    session.truncate(8)
    changed = IDS[:8] + OTHER[8:14]
    wanted = expected(changed)
    for position in range(8, 14):
        close(session.feed([changed[position]]), wanted[position], FP32, f"position {position}")


def test_two_sessions_take_turns(engine, expected):
    one, other = Session(engine), Session(engine)
    first, second = expected(IDS), expected(OTHER)
    one.feed(IDS[:5])
    other.feed(OTHER[:9])
    for step in range(4):
        close(one.feed([IDS[5 + step]]), first[5 + step], FP32, f"one, step {step}")
        close(other.feed([OTHER[9 + step]]), second[9 + step], FP32, f"other, step {step}")


def test_rows_join_idle_and_take_turns(weights, tmp_path, expected):
    engine = _open(weights, tmp_path, 3, SHORT)
    try:
        caches = [engine.new_cache(), engine.new_cache()]
        sources = [[IDS, OTHER, IDS[::-1]], [OTHER[::-1], IDS, OTHER]]
        wanted = [[expected(ids) for ids in rows] for rows in sources]
        held = np.zeros((2, 3), np.int32)
        plan = [(0, (5, 0, 7)), (0, (1, 0, 1)), (1, (7, 2, 0)), (0, (1, 7, 0)), (1, (1, 1, 1))]
        for which, counts in [*plan, (0, (7, 7, 7)), (1, (0, 7, 3)), (0, (1, 1, 1))]:
            size = 1 if max(counts) == 1 else 7
            input_ids = np.full((3, size), 9, np.int32)
            for row, count in enumerate(counts):
                start = held[which, row]
                input_ids[row, :count] = sources[which][row][start : start + count]
            logits = engine.step(
                input_ids, held[which].copy(), np.array(counts, np.int32), caches[which]
            )
            held[which] += counts
            for row, count in enumerate(counts):
                if count:
                    target = wanted[which][row][held[which, row] - 1]
                    close(logits[row], target, FP32, f"cache {which}, {counts}, row {row}")
    finally:
        engine.close()


def test_an_unknown_past_is_refused(engine):
    rows = [np.array(a, np.int32) for a in ([[5]], [3], [1])]
    with pytest.raises(EngineError, match="no position 3"):
        engine.step(*rows, engine.new_cache())
