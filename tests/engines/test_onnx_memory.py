"""Float16 weights that ONNX Runtime would widen beyond this machine's memory are refused first."""

from __future__ import annotations

import dataclasses

import pytest

from glmlite.bundle import Bundle
from glmlite.errors import EngineError, ExportError
from glmlite.model.parameters import EMBEDDING
from glmlite.runtime.engines import EngineOptions, onnx_memory, open_engine
from glmlite.runtime.host import inspect_host
from tests.engines.bundles import FORMATS, Bundles

pytest.importorskip("onnxruntime")


def with_memory(nbytes: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with so much free memory, and no other limit."""
    host = dataclasses.replace(inspect_host(), memory_available=nbytes, memory_limit=None)
    monkeypatch.setattr(onnx_memory, "inspect_host", lambda: host)


@pytest.fixture
def half(bundles: Bundles) -> Bundle:
    return Bundle.open(bundles.export("prefix_wide", model__dtype="float16", **FORMATS["onnx"]))


def test_matrices_are_counted_as_float32(half: Bundle, bundles: Bundles) -> None:
    shapes = half.weights().shapes()
    matrices = [s for name, s in shapes.items() if len(s) == 2 and name != EMBEDDING]
    assert onnx_memory.widened_bytes(half) == sum(4 * out * into for out, into in matrices) > 0
    plain = Bundle.open(bundles.export("prefix_wide", **FORMATS["onnx"]))
    assert onnx_memory.widened_bytes(plain) == 0


def test_too_large_is_refused_with_the_next_command(
    half: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_memory(onnx_memory.widened_bytes(half) - 1, monkeypatch)
    with pytest.raises(EngineError, match=r"as float32.*GiB are free") as caught:
        open_engine(half, "onnx", EngineOptions(threads=1))
    assert "glmlite quantize" in str(caught.value.hint)


@pytest.mark.parametrize("enough", [True, None])
def test_what_fits_is_opened(
    half: Bundle, enough: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_memory(onnx_memory.widened_bytes(half) if enough else None, monkeypatch)
    open_engine(half, "onnx", EngineOptions(threads=1)).engine.close()


def test_an_export_says_how_to_compare_less(
    bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_memory(1, monkeypatch)
    with pytest.raises(ExportError, match=r"GiB are free") as caught:
        bundles.export(
            "prefix_wide", model__dtype="float16", export__parity="full", **FORMATS["onnx"]
        )
    assert "export.parity=layers:2" in str(caught.value.hint)
