"""An export that is killed: nothing at its place, and the next one works and cleans up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glmlite.bundle import Bundle
from glmlite.errors import ExportError
from glmlite.exporter.pipeline import run_export
from tests.fixtures.models import MODELS
from tests.fixtures.writing import write_checkpoint

pytestmark = [pytest.mark.mindspore, pytest.mark.timeout(180)]

_SCRIPT = """
import sys
from glmlite.exporter.pipeline import run_export
from glmlite.progress import NoProgress

class Telling(NoProgress):
    def stage(self, title, total=None, unit=""):
        print(title, flush=True)

checkpoint, output, overwrite = sys.argv[1:]
recipe = {
    "model": {"checkpoint": checkpoint},
    "export": {"output": output, "cache_length": 64, "prefill_tokens": [1]},
}
run_export(recipe, progress=Telling(), overwrite=overwrite == "True")
"""


def recipe(checkpoint: Path, output: Path) -> dict[str, dict[str, object]]:
    return {
        "model": {"checkpoint": str(checkpoint)},
        "export": {
            "output": str(output),
            "cache_length": 64,
            "prefill_tokens": [1],
            "parity": "off",
        },
    }


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(MODELS["glm2"], tmp_path / "checkpoint")


def interrupt(
    checkpoint: Path, output: Path, stage: str, signum: signal.Signals, overwrite: bool = False
) -> None:
    """Export in a process of its own, which gets a signal as soon as `stage` begins."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, checkpoint, output, str(overwrite)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith(stage):
                break
        else:
            pytest.fail(f"there was no stage {stage!r}")
        time.sleep(0.2)
        workers = [int(pid) for pid in _children(process.pid)]
        assert process.poll() is None
        process.send_signal(signum)
        process.wait(30)
        assert process.returncode != 0
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
    end = time.monotonic() + 20
    while any(_is_running(pid) for pid in workers) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(_is_running(pid) for pid in workers), "a worker outlived its export"


def _children(pid: int) -> list[str]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [child for task in tasks for child in (task / "children").read_text().split()]


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_killed_and_tried_again(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "bundle"
    interrupt(checkpoint, output, "Exporting graphs", signal.SIGKILL)
    assert not output.exists()
    assert list(output.parent.iterdir()), "nothing was in the making: the test proves nothing"

    report = run_export(recipe(checkpoint, output))
    assert report.path == output
    Bundle.open(output).verify()
    assert list(output.parent.iterdir()) == [output]


def test_interrupted_by_the_user(checkpoint: Path, tmp_path: Path) -> None:
    """Ctrl-C: nothing stays at all."""
    output = tmp_path / "out" / "bundle"
    interrupt(checkpoint, output, "Exporting graphs", signal.SIGINT)
    assert list(output.parent.iterdir()) == []


def test_the_old_bundle_survives(checkpoint: Path, tmp_path: Path) -> None:
    """Replacing a bundle touches it only once the new one is complete."""
    output = tmp_path / "out" / "bundle"
    run_export(recipe(checkpoint, output))
    before = {p: p.stat().st_mtime_ns for p in output.rglob("*")}
    with pytest.raises(ExportError, match="There is a bundle"):
        run_export(recipe(checkpoint, output))
    interrupt(checkpoint, output, "Comparing graphs", signal.SIGKILL, overwrite=True)
    assert {p: p.stat().st_mtime_ns for p in output.rglob("*")} == before
    Bundle.open(output).verify()

    run_export(recipe(checkpoint, output), overwrite=True)
    assert list(output.parent.iterdir()) == [output]
    Bundle.open(output).verify()


def test_what_is_no_bundle_is_left_alone(checkpoint: Path, tmp_path: Path) -> None:
    for place in ("file", "folder", "link"):
        output = tmp_path / place
        if place == "file":
            output.write_text("mine")
        elif place == "folder":
            output.mkdir()
            (output / "mine").touch()
        else:
            output.symlink_to(tmp_path / "nowhere")
        for overwrite in (False, True):
            with pytest.raises(ExportError, match="left alone"):
                run_export(recipe(checkpoint, output), overwrite=overwrite)
        assert os.path.lexists(output)
    assert (tmp_path / "folder" / "mine").exists()
    assert not list(tmp_path.glob(".*partial*"))
