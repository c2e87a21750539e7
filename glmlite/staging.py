"""Output appears whole or not at all: written beside its place, synced, then renamed."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

LOCK = ".lock"


@contextlib.contextmanager
def staging_folder(output: Path) -> Iterator[Path]:
    """A new folder beside `output`, removed at the end, whatever happens; see `move_into_place`.

    What killed runs left there is removed first: a live run holds the lock of its folder.

    Raises:
        OSError: the folder that is to hold `output` cannot be written.
    """
    prefix = f".{output.name}.partial-"
    output.parent.mkdir(parents=True, exist_ok=True)
    for stale in output.parent.glob(glob.escape(prefix) + "*"):
        with contextlib.suppress(OSError), (stale / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(stale, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=output.parent))
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def move_into_place(staged: Path, output: Path) -> None:
    """Make a staged file or folder durable and readable, and move it to `output` in one step.

    Files get mode 0644 and folders 0755, whatever wrote them. What is at `output` already gives way
    only once the new one is complete on disk.
    """
    if staged.is_dir():
        (staged / LOCK).unlink(missing_ok=True)
    for path in [*staged.rglob("*"), staged]:
        path.chmod(0o755 if path.is_dir() else 0o644)
        _sync(path)
    if output.is_dir():
        old = staged.with_name(staged.name + "-old")
        output.rename(old)
        try:
            staged.rename(output)
        except OSError:
            old.rename(output)
            raise
        shutil.rmtree(old, ignore_errors=True)
    else:
        staged.replace(output)
    _sync(output.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
