"""A bundle appears whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glmlite.bundle.store import publish, staging
from glmlite.errors import ExportError


def _make(output: Path, text: str, overwrite: bool = False) -> None:
    with staging(output, overwrite) as folder:
        (folder / "weights").mkdir()
        (folder / "weights" / "data_0").write_text(text)
        (folder / "weights" / "data_0").chmod(0o400)
        publish(folder, "{}", output)


def test_published_whole_and_readable(tmp_path: Path) -> None:
    _make(tmp_path / "new" / "b", "one")
    files = sorted(p for p in (tmp_path / "new").rglob("*"))
    assert [p.relative_to(tmp_path).as_posix() for p in files] == [
        "new/b",
        "new/b/manifest.json",
        "new/b/weights",
        "new/b/weights/data_0",
    ]
    assert {p.stat().st_mode & 0o777 for p in files if p.is_file()} == {0o644}
    assert {p.stat().st_mode & 0o777 for p in files if p.is_dir()} == {0o755}


def test_nothing_stays_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with staging(tmp_path / "b") as folder:
            (folder / "x").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bundle_is_replaced_only_when_asked(tmp_path: Path) -> None:
    output = tmp_path / "b"
    _make(output, "one")
    with pytest.raises(ExportError, match="--force"):
        _make(output, "two")
    assert (output / "weights" / "data_0").read_text() == "one"
    _make(output, "two", overwrite=True)
    assert (output / "weights" / "data_0").read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_bundle_is_never_touched(tmp_path: Path, overwrite: bool) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    (folder / "precious").write_text("x")
    file.write_text("x")
    for output in (folder, file):
        with pytest.raises(ExportError, match="left alone"):
            _make(output, "one", overwrite)
    assert (folder / "precious").read_text() == "x"


def test_an_unwritable_place_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ExportError, match="cannot be written"):
        _make(tmp_path / "file" / "b", "one")


def _start_run(output: Path) -> subprocess.Popen[bytes]:
    """Another process in the middle of writing to `output`."""
    code = (
        "import sys, time; from pathlib import Path; from glmlite.bundle.store import staging\n"
        "with staging(Path(sys.argv[1])) as f:\n (f / 'x').write_text('half'); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(output)])
    for _ in range(200):
        if list(output.parent.glob(f".{output.name}.partial-*/x")):
            break
        time.sleep(0.05)
    return process


def test_two_runs_do_not_write_to_the_same_place(tmp_path: Path) -> None:
    process = _start_run(tmp_path / "b")
    try:
        with pytest.raises(ExportError, match="another process"):
            _make(tmp_path / "b", "one")
        assert list(tmp_path.glob(".b.partial-*/x")), "a running export lost its folder"
        _make(tmp_path / "c", "one")
    finally:
        process.kill()
        process.wait()


def test_what_a_killed_run_left_is_cleaned(tmp_path: Path) -> None:
    process = _start_run(tmp_path / "b")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _make(tmp_path / "b", "two")
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_run_killed_between_the_renames_does_not_lose_the_older_bundle(tmp_path: Path) -> None:
    _make(tmp_path / "b", "one")
    (tmp_path / "b").rename(tmp_path / ".b.partial-x-old")
    (tmp_path / ".b.partial-x").mkdir()
    with pytest.raises(ExportError, match="--force"):
        _make(tmp_path / "b", "two")
    assert (tmp_path / "b" / "weights" / "data_0").read_text() == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
