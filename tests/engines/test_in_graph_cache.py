"""Graphs with the cache inside, as MindFormers exported them, against the float64 oracle."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from glmlite.checkpoint import open_checkpoint
from glmlite.errors import CacheFullError, EngineError
from glmlite.model.config import ModelConfig, from_huggingface
from glmlite.model.parameters import parameter_shapes
from glmlite.model.reference import forward
from glmlite.runtime.engines import EngineOptions
from glmlite.runtime.engines.bare import open_pair, read_pair
from glmlite.runtime.engines.contracts import read_bare_graph
from glmlite.runtime.engines.mindir import MindIREngine
from glmlite.runtime.session import Session
from glmlite.toolchain import mindir
from tests.engines.driving import FP32, close
from tests.fixtures.models import MODELS
from tests.fixtures.writing import write_checkpoint

pytest.importorskip("mindspore")
pytestmark = pytest.mark.mindspore

SEQ_LENGTH = 48
MODEL = MODELS["glm2"]


@dataclasses.dataclass(frozen=True)
class Weights:
    """The parameters of a checkpoint, under their own names."""

    checkpoint: object
    config: ModelConfig

    def shapes(self):
        return parameter_shapes(self.config)

    def read(self, name):
        return self.checkpoint.read(name)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Weights:
    checkpoint = open_checkpoint(write_checkpoint(MODEL, tmp_path_factory.mktemp("in-graph")))
    return Weights(checkpoint, from_huggingface(checkpoint.raw_config))


@pytest.fixture(scope="module")
def pairs(weights, tmp_path_factory):
    """Exports graphs of some batch size, once each."""
    from tests.engines.in_graph_network import export_pair

    made: dict[int, tuple[Path, Path]] = {}

    def export(batch: int) -> tuple[Path, Path]:
        if batch not in made:
            folder = tmp_path_factory.mktemp(f"in-graph-{batch}")
            made[batch] = export_pair(
                weights.config, weights, folder, batch=batch, seq_length=SEQ_LENGTH
            )
        return made[batch]

    return export


@pytest.fixture(scope="module")
def engine(pairs) -> Iterator[MindIREngine]:
    opened = open_pair(read_pair(*pairs(1)), "mindspore", EngineOptions(threads=1))
    yield opened.engine
    opened.engine.close()


@pytest.fixture(scope="module")
def expected(weights):
    """Logits after every id of a sequence, from the NumPy reference."""

    def logits(ids: list[int]) -> np.ndarray:
        return forward(weights.config, weights, [ids])[0]

    return logits


IDS = [int(i) for i in np.random.default_rng(4).integers(3, 250, SEQ_LENGTH)]
OTHER = [int(i) for i in np.random.default_rng(5).integers(3, 250, SEQ_LENGTH)]


def test_the_contract_is_read_off_the_inputs(pairs):
    prefill, decode = (read_bare_graph(path) for path in pairs(1))
    assert prefill.contract == decode.contract == "in_graph"
    assert (prefill.tokens, decode.tokens) == (SEQ_LENGTH, 1)
    assert prefill.vocab_size == MODEL.vocab_size
    assert [role for role, _ in prefill.inputs] == [
        "input_ids",
        "input_position",
        "init_reset",
        "batch_valid_length",
    ]


@pytest.mark.parametrize("length", [1, 5, 40])
def test_a_prompt_and_its_continuation(engine, expected, length):
    session, wanted = Session(engine), expected(IDS)
    close(session.feed(IDS[:length]), wanted[length - 1], FP32, "prompt")
    for position in range(length, SEQ_LENGTH):
        close(session.feed([IDS[position]]), wanted[position], FP32, f"position {position}")
    assert session.room == 0
    with pytest.raises(CacheFullError):
        session.feed([3])


def test_a_rollback_is_exact(engine, expected):
    session = Session(engine)
    session.feed(IDS[:6])
    for token in IDS[6:12]:
        session.feed([token])
    session.truncate(8)
    changed = IDS[:8] + OTHER[8:14]
    wanted = expected(changed)
    close(session.feed([changed[8]]), wanted[8], FP32, "first after the rollback")
    for position in range(9, 14):
        close(session.feed([changed[position]]), wanted[position], FP32, f"position {position}")


def test_a_second_turn_appends_several_tokens(engine, expected):
    session, wanted = Session(engine), expected(IDS)
    session.feed(IDS[:4])
    close(session.feed(IDS[4:6]), wanted[5], FP32, "two tokens, by decode steps")
    close(session.feed(IDS[6:30]), wanted[29], FP32, "many tokens, by a new prefill")
    close(session.feed([IDS[30]]), wanted[30], FP32, "one more")


def test_two_sessions_take_turns(engine, expected):
    one, other = Session(engine), Session(engine)
    first, second = expected(IDS), expected(OTHER)
    one.feed(IDS[:5])
    other.feed(OTHER[:9])
    for step in range(3):
        close(one.feed([IDS[5 + step]]), first[5 + step], FP32, f"one, step {step}")
        close(other.feed([OTHER[9 + step]]), second[9 + step], FP32, f"other, step {step}")


def test_syncing_with_another_prompt(engine, expected):
    session = Session(engine)
    session.sync(IDS[:12])
    close(session.sync(OTHER[:7]), expected(OTHER)[6], FP32, "another prompt")
    close(session.sync(OTHER[:7]), expected(OTHER)[6], FP32, "the same again")


def test_rows_of_a_batch_join_idle_and_leave(pairs, expected):
    opened = open_pair(read_pair(*pairs(3)), "mindspore", EngineOptions(threads=1))
    engine = opened.engine
    try:
        cache = engine.new_cache()
        held: list[list[int]] = [[], [], []]
        sources = [IDS, OTHER, IDS[::-1]]
        wanted = [expected(ids) for ids in sources]
        # How many tokens each row gets: joins, one-token steps, idle rows, a row that starts anew.
        for counts in [(5, 0, 9), (1, 0, 1), (1, 7, 0), (1, 1, 1), (0, 1, 0), (1, 1, 2), (3, 0, 0)]:
            size = SEQ_LENGTH
            input_ids = np.full((3, size), 9, np.int32)
            position = np.array([len(row) for row in held], np.int32)
            for row, count in enumerate(counts):
                start = len(held[row])
                input_ids[row, :count] = sources[row][start : start + count]
                held[row] += sources[row][start : start + count]
            logits = engine.step(input_ids, position, np.array(counts, np.int32), cache)
            for row, count in enumerate(counts):
                if count:
                    close(logits[row], wanted[row][len(held[row]) - 1], FP32, f"{counts} row {row}")
    finally:
        engine.close()


def move_weights_out(path: Path, folder: Path) -> Path:
    """A graph as MindSpore writes it above 1 GiB: all parameters in a file beside it."""
    data, content, places = bytearray(64), path.read_bytes(), {}
    for parameter in mindir.list_parameters(str(path)):
        places[parameter.name] = (f"{path.stem}_variables/data_0", len(data), parameter.length)
        data += content[parameter.offset : parameter.offset + parameter.length]
        data += bytes(-len(data) % 64)
    (folder / f"{path.stem}_variables").mkdir()
    (folder / f"{path.stem}_variables" / "data_0").write_bytes(data)
    mindir.rewrite_parameters(str(path), str(folder / path.name), places)
    return folder / path.name


def test_weights_and_cache_in_files_beside_the_graphs(pairs, expected, tmp_path):
    prefill, decode = (move_weights_out(path, tmp_path) for path in pairs(1))
    files = sorted(tmp_path.glob("*_variables/data_0"))
    before = [file.read_bytes() for file in files]
    opened = open_pair(read_pair(prefill, decode), "mindspore", EngineOptions(threads=1))
    try:
        session, wanted = Session(opened.engine), expected(IDS)
        close(session.feed(IDS[:5]), wanted[4], FP32, "prompt")
        for position in range(5, 10):
            close(session.feed([IDS[position]]), wanted[position], FP32, f"position {position}")
        session.truncate(3)
        close(session.feed([IDS[3]]), wanted[3], FP32, "after a rollback")
    finally:
        opened.engine.close()
    assert [file.read_bytes() for file in files] == before, "the cache was written to the disk"


@pytest.mark.parametrize("damage", ["short", "missing"])
def test_weights_beside_the_graphs_that_are_not_there(pairs, tmp_path, damage):
    prefill, decode = (move_weights_out(path, tmp_path) for path in pairs(1))
    file = tmp_path / "prefill_variables" / "data_0"
    if damage == "short":
        file.write_bytes(file.read_bytes()[:-64])
    else:
        file.unlink()
    with pytest.raises(EngineError, match=r"cannot load .*prefill\.mindir: .*data_0"):
        open_pair(read_pair(prefill, decode), "mindspore", EngineOptions(threads=1))


def test_swapped_graphs_are_told_apart(pairs):
    prefill, decode = pairs(1)
    with pytest.raises(EngineError, match="increment graph second"):
        read_pair(decode, prefill)


def test_graphs_of_two_exports_do_not_mix(pairs):
    with pytest.raises(EngineError, match=r"batch_size is 1 in .* and 3 in"):
        read_pair(pairs(1)[0], pairs(3)[1])


def test_lite_on_a_cpu_is_refused(pairs, toolchain):
    pair = read_pair(*pairs(1))
    with pytest.raises(EngineError):
        open_pair(pair, "lite", EngineOptions(toolchain=toolchain))


def test_a_file_that_is_no_graph(tmp_path):
    path = tmp_path / "x.mindir"
    for content in (b"", b"\0" * 64, b"\x3a\xff\xff\xff\x7f"):
        path.write_bytes(content)
        with pytest.raises(EngineError, match="no MindIR"):
            read_bare_graph(path)
    with pytest.raises(EngineError, match="no MindIR"):
        read_bare_graph(tmp_path / "nothing.mindir")
