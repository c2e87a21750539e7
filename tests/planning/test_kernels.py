"""Products of ONNX Runtime's, measured here, and estimates that follow from them."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from glmlite.exporter.config import load_config
from glmlite.model.presets import PRESETS
from glmlite.planning import Subject, estimate, from_config, kernels, kernels_asked
from glmlite.planning.engines import ENGINES
from glmlite.planning.estimate import shares
from glmlite.planning.machine import cpu_device
from glmlite.planning.storage import FLOATS, MATRIX_KINDS, SETS, MatrixKind, WeightKind

ONNX = ("float32", "int8", "w8a8", "int4")


def planned(weights: WeightKind, **changes: Any) -> Subject:
    overrides = {"export.format": "onnx", "export.cache_length": 2304}
    subject = from_config(load_config("glm2_6b", overrides | changes), "glm2_6b")
    return subject.with_weights(weights)


# --- measuring --------------------


@pytest.mark.parametrize("kind", ONNX)
def test_each_kind_is_measured_as_the_exporter_stores_it(
    kind: MatrixKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from glmlite.runtime.engines import onnx_session

    opened = []
    real = onnx_session.open_session

    def remember(path: Path, threads: int) -> Any:
        import onnx

        opened.extend(n.op_type for n in onnx.load(path, load_external_data=False).graph.node)
        return real(path, threads)

    monkeypatch.setattr(onnx_session, "open_session", remember)
    monkeypatch.setattr(kernels, "_SECONDS", 0.0)
    assert kernels.product_speed(kind, 1, size=256, rows=4) > 0
    operator = {"float32": "FusedMatMul", "w8a8": "MatMulIntegerToFloat"}.get(kind, "MatMulNBits")
    assert operator in opened


def test_measured_in_a_process_of_its_own() -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    found = kernels.measure_kernels(1, ["int4"])
    assert list(found) == ["int4"]
    assert found["int4"] > 1e8


def test_nothing_is_measured_where_a_package_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('none here')", encoding="ascii")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert kernels.measure_kernels(1, ["int4"]) == {}


def test_a_process_that_hangs_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules, scratch = tmp_path / "modules", tmp_path / "scratch"
    modules.mkdir()
    scratch.mkdir()
    text = "import time\nfrom tempfile import mkdtemp\nmkdtemp()\ntime.sleep(60)"
    (modules / "onnx.py").write_text(text, encoding="ascii")
    monkeypatch.setenv("PYTHONPATH", str(modules))
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(kernels, "_TIMEOUT", 1.5)
    assert kernels.measure_kernels(1, ["int4"]) == {}
    assert not list(scratch.iterdir())


def test_nothing_is_started_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "run", refuse)
    assert kernels.measure_kernels(1, []) == {}


def test_what_is_measured_is_what_the_estimates_ask_for() -> None:
    assert kernels_asked([planned("int4")]) == set(ONNX)  # the table shows every kind
    two = [planned("int4_w8a8"), planned("float16")]
    assert kernels_asked(two) == {"int4", "w8a8", "float32"}
    mindir = planned("float32", **{"export.format": "mindir"})
    assert kernels_asked([mindir]) == set(ONNX) - set(FLOATS)
    assert kernels_asked([mindir, mindir]) == set()


# --- reckoning --------------------

# Two cores of an Intel Xeon (AVX-512 VNNI, AMX), quiet: bytes, float32 operations of NumPy's and
# operations of ONNX Runtime's kernels a second.
MEMORY = int(23.5e9)
XEON = cpu_device(31e9, 3.2e11, MEMORY, {"int8": 4.35e11, "w8a8": 2.61e12, "int4": 4.29e11})


@pytest.mark.parametrize(
    ("weights", "decode", "prefill"),
    [
        ("int8", (3.35, 4.23), (32.7, 38.2)),
        ("w8a8", (3.52, 4.58), (98.8, 144.5)),
        ("int4", (6.24, 7.11), (34.0, 35.7)),
        ("int4_w8a8", (5.82, 7.09), (119.4, 165.6)),
    ],
)
def test_figures_of_the_6b_model(
    weights: WeightKind, decode: tuple[float, float], prefill: tuple[float, float]
) -> None:
    """benchmarks/RESULTS.md, the least and the most of five runs."""
    found = estimate(planned(weights), XEON)
    for speed, (least, most) in ((found.decode, decode), (found.prefill, prefill)):
        assert 0.7 * most < speed.value < 1.3 * least
        assert speed.low < least
        assert speed.high > 0.95 * least


def test_two_sets_decode_as_the_one_and_prefill_as_the_other() -> None:
    both, first, second = (estimate(planned(kind), XEON) for kind in ("int4_w8a8", "int4", "w8a8"))
    assert both.decode == first.decode
    assert both.prefill.value == pytest.approx(second.prefill.value)
    assert both.memory.weights > first.memory.weights + 0.9 * second.memory.weights
    assert shares(both) == {
        "read_share": ENGINES["onnx"].read_share["int4"],
        "compute_share": ENGINES["onnx"].compute_share["w8a8"],
        "product": shares(second)["product"],
        "value_flops": ENGINES["onnx"].value_flops,
    }


def test_kernels_that_are_faster_prefill_faster() -> None:
    slow = cpu_device(31e9, 3.2e11, MEMORY, {"w8a8": 3e11})
    fast, slower = (estimate(planned("w8a8"), device) for device in (XEON, slow))
    assert fast.prefill.value > 4 * slower.prefill.value
    assert fast.decode == slower.decode
    mindspore = planned("float32", **{"export.format": "mindir"})
    assert estimate(mindspore, XEON).prefill == estimate(mindspore, slow).prefill


def test_kernels_that_were_not_measured() -> None:
    """The range reaches from processors without to processors with instructions for integers."""
    bare = cpu_device(31e9, 3.2e11, MEMORY)
    for kind in ONNX:
        assert shares(estimate(planned(kind), bare))["product"].source == "products_assumed"
    assert shares(estimate(planned("int4"), XEON))["product"].source == "products"
    for kind in ("int8", "w8a8", "int4"):
        guess, known = estimate(planned(kind), bare), estimate(planned(kind), XEON)
        assert guess.prefill.low < known.prefill.value < guess.prefill.high < guess.prefill.limit


def test_every_kind_has_its_figures() -> None:
    assert {kind for sets in SETS.values() for kind in sets} == set(MATRIX_KINDS)
    assert set(ENGINES["onnx"].native) == set(ONNX)
    assert PRESETS["glm2_6b"].config.num_layers == planned("int4").model.num_layers
