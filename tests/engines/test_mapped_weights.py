"""Weights are mapped once, given back while a graph opens, and the same in every bit."""

from __future__ import annotations

import gc
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glmlite
from glmlite.bundle.onnx_file import OnnxFile, StoredTensor
from glmlite.bundle.onnx_reader import read_onnx_file
from glmlite.demo import CHECKPOINT
from glmlite.runtime.engines import mapped_weights, onnx_session
from glmlite.runtime.engines.mapped_weights import MappedWeights
from tests.engines.bundles import FORMATS, Bundles

onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SIZE = 8 * 2**20
IDS = [5, 200, 31, 7]


def weights_of(folder: Path, *tensors: StoredTensor) -> MappedWeights:
    """Of a data file of 8 MiB."""
    folder.mkdir(exist_ok=True)
    (folder / "data_0").write_bytes(bytes(range(256)) * (SIZE // 256))
    return MappedWeights(folder, OnnxFile({}, {}, (), (), tensors), onnxruntime)


def whole() -> StoredTensor:
    return StoredTensor("w", "uint8", (SIZE // 256, 256), "data_0", 0, SIZE)


def held(path: Path) -> int:
    """Bytes of a file that are in this process's memory."""
    inside, found = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            inside = line.endswith(str(path))
        elif inside and words[0] == "Rss:":
            found += 1024 * int(words[1])
    return found


def test_values_are_the_file_s_own_pages(tmp_path: Path) -> None:
    part = StoredTensor("part", "float32", (2, 3), "data_0", 64, 24)
    inside = StoredTensor("inside", "float32", (2,), None, 0, 0)
    odd = StoredTensor("odd", "float32", (2,), "data_0", 2, 8)
    weights = weights_of(tmp_path / "m", whole(), part, inside, odd)
    assert set(weights.values) == {"w", "part"}, "what else there is, ONNX Runtime reads itself"
    expected = np.frombuffer(bytes(range(64, 88)), np.float32).reshape(2, 3)
    np.testing.assert_array_equal(weights.values["part"].numpy(), expected)
    assert held(tmp_path / "m" / "data_0") < SIZE / 2, "nothing was copied or read ahead of time"


def test_what_is_given_back_can_be_read_again(tmp_path: Path) -> None:
    weights = weights_of(tmp_path / "m", whole())
    for _ in range(2):
        assert (weights.values["w"].numpy() == np.arange(256, dtype=np.uint8)).all()
        assert held(tmp_path / "m" / "data_0") == SIZE
        weights.give_back()
        assert held(tmp_path / "m" / "data_0") == 0


def test_it_happens_while_the_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped_weights, "LIMIT", SIZE // 2)
    weights = weights_of(tmp_path / "m", whole())
    given, really = threading.Event(), weights.give_back

    def give_back() -> None:
        really()
        given.set()

    monkeypatch.setattr(weights, "give_back", give_back)
    with weights.giving_back() as works:
        assert works
        assert not given.wait(5 * mapped_weights.SECONDS), "there is nothing yet"
        for _ in range(500):
            weights.values["w"].numpy().sum()
            if given.wait(0.01):
                break
        else:
            pytest.fail("nothing was given back")
        running = threading.active_count()
    assert threading.active_count() == running - 1, "it ends with the block"


def both_ways(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Logits with everything given back all the time, and with ONNX Runtime's own mapping."""
    monkeypatch.setattr(mapped_weights, "LIMIT", -(2**60))
    monkeypatch.setattr(mapped_weights, "SECONDS", 0)
    found = []
    for ours in (True, False):
        monkeypatch.setattr(onnx_session, "can_give_back", lambda ours=ours: ours)
        with glmlite.load(path, engine="onnx") as model:
            gc.collect()  # a session only points at its weights
            found.append((model.session().score(IDS), model.session().feed(IDS)))
    return found


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("flavor", ["onnx", "onnx_standard"])
def test_a_graph_opens_the_same(
    bundles: Bundles, dtype: str, flavor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bundles.export("prefix_wide", **FORMATS[flavor], model__dtype=dtype)
    (ours, fed), (its, fed_too) = both_ways(path, monkeypatch)
    np.testing.assert_array_equal(ours, its)
    np.testing.assert_array_equal(fed, fed_too)


def test_two_quantized_graphs_open_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one has given back must never be the other's, however often they try."""
    path = glmlite.quantize(
        CHECKPOINT, recipe="cpu_int4_w8a8", output=tmp_path / "q", accuracy=False, parity=False
    )
    wanted = both_ways(path, monkeypatch)[1]
    for _ in range(5):
        found = both_ways(path, monkeypatch)[0]
        np.testing.assert_array_equal(found[0], wanted[0])
        np.testing.assert_array_equal(found[1], wanted[1])


@pytest.mark.parametrize(("version", "ours"), [("0.1", True), ("99.0", False)])
def test_an_onnx_runtime_that_stops_all_threads_maps_by_itself(
    bundles: Bundles, version: str, ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_session, "_LETS_THREADS_RUN", version)
    path = bundles.export("prefix_wide", **FORMATS["onnx"])
    file = read_onnx_file(path / "model.onnx")
    session = onnx_session.open_session(path / "model.onnx", 1, file=file)
    assert (session.weights is not None) == ours


def test_without_another_thread_it_opens_on_one(
    bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bundles.export("prefix_wide", **FORMATS["onnx"])

    def no_more(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(mapped_weights.threading.Thread, "start", no_more)
    file = read_onnx_file(path / "model.onnx")
    session = onnx_session.open_session(path / "model.onnx", 1, file=file)
    assert session.get_inputs()
