"""Writing a bundle: beside its place, synced, then renamed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from glmlite.bundle.bundle import MANIFEST, sha256_of
from glmlite.bundle.manifest import FileEntry
from glmlite.errors import ExportError
from glmlite.i18n import _
from glmlite.progress import Progress
from glmlite.staging import move_into_place, staging_folder


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
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(staging_folder(output))
        except OSError as error:
            raise ExportError(
                "{path} cannot be written: {error}",
                hint="Name another --output.",
                path=str(output),
                error=error.strerror or str(error),
            ) from error
        check_output(output, overwrite)  # a killed run's older bundle may have been put back
        yield folder


def describe_files(
    folder: Path, progress: Progress, known: Mapping[str, FileEntry] | None = None
) -> dict[str, FileEntry]:
    """Size and sha256 of every file below `folder`, sorted by path.

    Args:
        folder: of a staged bundle.
        progress: gets a stage that counts the bytes that are read.
        known: path -> what was found out while the file was written; files of another size by now
            are read all the same.
    """
    sizes = {
        p.relative_to(folder).as_posix(): p.stat().st_size
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }
    found = {p: e for p, e in (known or {}).items() if sizes.get(p) == e.size}
    unread = sum(size for path, size in sizes.items() if path not in found)
    progress.stage(_("Hashing the files"), unread, "B")
    return {
        path: found.get(path) or FileEntry(size, sha256_of(folder / path, progress))
        for path, size in sizes.items()
    }


def publish(folder: Path, manifest_json: str, output: Path) -> None:
    """Complete a staged bundle and move it to its place in one step; see `move_into_place`."""
    (folder / MANIFEST).write_text(manifest_json, encoding="utf-8")
    move_into_place(folder, output)
