"""Ctrl-C while a compiled package is imported is no missing package."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from glmlite.errors import EngineError
from glmlite.runtime.engines.interrupts import interrupt_deferred
from glmlite.runtime.engines.onnx_session import import_onnxruntime

# What pybind11 does at the beginning of an extension.
EXTENSION = """
import os, signal
try:
    for _ in range({times}):
        os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt as error:
    raise ImportError("initialization failed") from error
__version__ = "1.99"
def set_default_logger_severity(level): pass
"""


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_onnx_runtime_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    (tmp_path / "onnxruntime.py").write_text(EXTENSION.format(times=times), encoding="utf-8")
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        import_onnxruntime()
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)


def test_a_broken_package_is_still_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('of another CPU')")
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EngineError, match="of another CPU"):
        import_onnxruntime()


def test_who_ignores_ctrl_c_still_does() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupt_deferred():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
