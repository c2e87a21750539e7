"""Output appears whole or not at all: written beside its place, synced, then renamed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_OLD = "-old"


@contextlib.contextmanager
def staging_folder(output: Path) -> Iterator[Path]:
    """A new folder beside `output`, removed at the end, whatever happens; see `move_into_place`.

    A lock beside `output` is held all the while, so what else lies there was left by a killed run:
    it is removed, and an older output that such a run had moved away is put back.

    Raises:
        OSError: the folder that is to hold `output` cannot be written, or another process is
            writing there (BlockingIOError).
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{output.name}.partial-"
    with _lock(output.with_name(f".{output.name}.lock")):
        for stale in output.parent.glob(glob.escape(prefix) + "*"):
            if stale.name.endswith(_OLD) and not output.exists():
                stale.rename(output)
            else:
                shutil.rmtree(stale, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=output.parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; it is gone afterwards."""
    while True:
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BlockingIOError(
                    errno.EAGAIN, "another process is writing to the same place"
                ) from error
            # Its last holder may have removed the file between our open and our lock.
            if not path.exists() or not os.path.samestat(path.stat(), os.fstat(file.fileno())):
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def move_into_place(staged: Path, output: Path) -> None:
    """Make a staged file or folder durable and readable, and move it to `output` in one step.

    Files get mode 0644 and folders 0755, whatever wrote them. What is at `output` already gives way
    only once the new one is complete on disk.
    """
    for path in [*staged.rglob("*"), staged]:
        path.chmod(0o755 if path.is_dir() else 0o644)
        _sync(path)
    if output.is_dir():
        old = staged.with_name(staged.name + _OLD)
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
