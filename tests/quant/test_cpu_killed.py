"""`glmlite quantize` for CPUs that is interrupted or killed: the next one works and cleans up."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import glmlite
from glmlite.bundle import Bundle
from glmlite.demo import CHECKPOINT
from glmlite.exporter.weights import DATA

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

RECIPE = "scheme: block\nbits: 8\nmethod: round\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_ended_in_the_middle_and_tried_again(
    environment: dict[str, str],
    tmp_path: Path,
    number: signal.Signals,
    code: int,
) -> None:
    recipe, output = tmp_path / "plain.yaml", tmp_path / "made" / "bundle"
    recipe.write_text(RECIPE)
    arguments = ["quantize", CHECKPOINT, "--recipe", recipe, "--output", output]
    with subprocess.Popen(
        [sys.executable, "-m", "glmlite.cli", *map(str, arguments)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        try:
            end = time.monotonic() + 60
            while not list(output.parent.glob(f"*/weights/{DATA}")):
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.005)
            assert not output.exists()
            process.send_signal(number)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == code
    assert "Traceback" not in said
    left = list(output.parent.iterdir())
    assert output not in left
    assert bool(left) == (number == signal.SIGKILL)
    glmlite.quantize(CHECKPOINT, recipe=recipe, output=output, accuracy=False, parity=False)
    Bundle.open(output).verify()
    assert list(output.parent.iterdir()) == [output]
