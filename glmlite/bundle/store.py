"""Writing a bundle: beside its place, synced, then renamed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from glmlite.bundle.bundle import MANIFEST, sha256_of
from glmlite.bundle.manifest import FileEntry
from glmlite.errors import ExportError
from glmlite.progress import Progress

_LOCK = ".lock"


def _staging_prefix(output: Path) -> str:
    return f".{output.name}.partial-"


def _remove_stale(output: Path) -> None:
    """Remove what killed runs left beside `output`; a live run holds its lock."""
    for folder in output.parent.glob(_staging_prefix(output) + "*"):
        with contextlib.suppress(OSError), (folder / _LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def check_output(output: Path, overwrite: bool) -> None:
    """Refuse an output that exists, unless it is a bundle and may be replaced."""
    if not output.exists() and not output.is_symlink():
        return
    if not (output / MANIFEST).is_file() and not (output.is_dir() and not any(output.iterdir())):
        raise ExportError(
            "{path} exists and is no bundle; it is left alone.",
            hint="Name another --output.",
            path=str(output),
        )
    if not overwrite and (output / MANIFEST).is_file():
        raise ExportError(
            "There is a bundle at {path} already.",
            hint="Name another --output, or replace it with --force.",
            path=str(output),
        )


@contextlib.contextmanager
def staging(output: Path, overwrite: bool = False) -> Iterator[Path]:
    """A new folder beside `output`; it is removed, whatever happens, unless `publish` moved it.

    Raises:
        ExportError: `output` is taken, or its parent cannot be written.
    """
    check_output(output, overwrite)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(output)
        folder = Path(tempfile.mkdtemp(prefix=_staging_prefix(output), dir=output.parent))
    except OSError as error:
        raise ExportError(
            "{path} cannot be written: {error}",
            hint="Name another --output.",
            path=str(output),
            error=error.strerror or str(error),
        ) from error
    with (folder / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def describe_files(folder: Path, progress: Progress) -> dict[str, FileEntry]:
    """Size and sha256 of every file below `folder`, sorted by path."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != _LOCK)
    return {
        p.relative_to(folder).as_posix(): FileEntry(p.stat().st_size, sha256_of(p, progress))
        for p in paths
    }


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(folder: Path, manifest_json: str, output: Path) -> None:
    """Complete a staged bundle and move it to its place in one step.

    Files get mode 0644 and folders 0755, whatever wrote them. An older bundle at `output` gives way
    only once the new one is complete on disk.
    """
    (folder / MANIFEST).write_text(manifest_json, encoding="utf-8")
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    (folder / _LOCK).unlink(missing_ok=True)
    for path in [*folder.rglob("*"), folder]:
        _sync(path)
    if output.exists():
        old = folder.with_name(folder.name + "-old")
        output.rename(old)
        try:
            folder.rename(output)
        except OSError:
            old.rename(output)
            raise
        shutil.rmtree(old, ignore_errors=True)
    else:
        folder.rename(output)
    _sync(output.parent)
