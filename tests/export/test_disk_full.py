"""A disk that fills up in the middle of an export: one clear error, nothing left behind."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from glmlite.errors import ExportError
from glmlite.exporter.pipeline import run_export
from tests.fixtures.models import MODELS
from tests.fixtures.writing import write_checkpoint

pytestmark = [pytest.mark.mindspore, pytest.mark.timeout(180)]

_SCRIPT = """
import json, os, sys
from glmlite.errors import ExportError
from glmlite.exporter.pipeline import run_export

checkpoint, output, length = sys.argv[1:]
recipe = {
    "model": {"checkpoint": checkpoint},
    "export": {"output": output, "cache_length": int(length), "prefill_tokens": [1]},
}
result = {"error": None, "kind": None}
try:
    run_export(recipe)
except ExportError as error:
    result = {"error": str(error), "kind": type(error).__name__}
result["left"] = sorted(os.listdir(os.path.dirname(output)))
print("RESULT" + json.dumps(result))
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(MODELS["glm2"], tmp_path / "checkpoint")


def result_of(found: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert "RESULT" in found.stdout, found.stdout + found.stderr
    data: dict[str, Any] = json.loads(found.stdout.partition("RESULT")[2])
    assert "Traceback" not in (data["error"] or "")
    return data


def failed_cleanly(result: dict[str, Any], *words: str) -> None:
    assert result["error"], "the export succeeded: the limit is too high"
    for word in words:
        assert word in result["error"], result["error"]
    assert result["left"] == []


@pytest.mark.parametrize("where", ["weights", "graph"])
def test_files_may_not_grow(checkpoint: Path, tmp_path: Path, where: str) -> None:
    """A limit on the size of files fails a write as a full disk does.

    Below the size of the weights glmlite's own write fails; just above it, that of MindSpore, whose
    graph has a table of positions as large as its cache is long.
    """
    weights = (checkpoint / "model.safetensors").stat().st_size
    limit = weights // 2 if where == "weights" else weights + 4096
    (tmp_path / "out").mkdir()
    found = subprocess.run(
        [sys.executable, "-c", _SCRIPT, checkpoint, tmp_path / "out" / "bundle", "8192"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
    )
    what = "The bundle" if where == "weights" else "The graphs"
    failed_cleanly(result_of(found), what, "File too large", "Free some space")


def _mounting() -> list[str] | None:
    """A command that gives its child a mount namespace of its own, where that is allowed."""
    if shutil.which("unshare") is None:
        return None
    for command in (["unshare", "-m"], ["unshare", "-rm"]):
        probe = [*command, "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"]
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return command
    return None


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_a_real_small_disk(checkpoint: Path, tmp_path: Path, factor: float) -> None:
    """A tmpfs of `factor` times the weights: refused at once, or full while graphs are written."""
    command = _mounting()
    if command is None:
        pytest.skip("mounting a tmpfs is not allowed here")
    weights = (checkpoint / "model.safetensors").stat().st_size
    disk = tmp_path / "disk"
    disk.mkdir()
    size = int(weights * factor) // 4096 * 4096
    script = f'mount -t tmpfs -o size={size} none "$1" && shift && exec "$@"'
    python = [sys.executable, "-c", _SCRIPT, checkpoint, disk / "bundle", "64"]
    found = subprocess.run(
        [*command, "sh", "-c", script, "sh", disk, *python],
        capture_output=True,
        text=True,
        check=False,
    )
    reason = " free" if factor < 1 else "No space left"
    failed_cleanly(result_of(found), reason, "Free some space")


def test_no_folder_can_be_made(checkpoint: Path, tmp_path: Path) -> None:
    """The output lies below a file, or below a device."""
    (tmp_path / "file").write_text("here")
    for parent in (tmp_path / "file", Path("/dev/full"), Path("/proc")):
        recipe = {
            "model": {"checkpoint": str(checkpoint)},
            "export": {"output": str(parent / "bundle"), "cache_length": 64, "prefill_tokens": 1},
        }
        with pytest.raises(ExportError, match="cannot be written"):
            run_export(recipe)
    assert (tmp_path / "file").read_text() == "here"
