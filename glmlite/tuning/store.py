"""Putting tuned settings into a bundle that stays whole at every moment."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from glmlite.bundle import Bundle
from glmlite.bundle.bundle import MANIFEST
from glmlite.bundle.manifest import FileEntry, Manifest
from glmlite.errors import BundleError
from glmlite.runtime.engines.interrupts import interrupt_deferred
from glmlite.staging import move_into_place, staging_folder
from glmlite.tuning.settings import TunedSettings

FOLDER = "runtime"
# The one that the manifest does not name is written, so the one that it names never changes.
NAMES = (f"{FOLDER}/tuned.json", f"{FOLDER}/tuned-2.json")


@contextlib.contextmanager
def updating(bundle: Bundle) -> Iterator[Callable[[TunedSettings], None]]:
    """Hold a bundle for tuning; gives a function that writes the settings.

    The new file lies complete beside the old one before manifest.json names it, and manifest.json
    is replaced in one step: whenever this ends, the bundle opens, with old settings or new ones.

    Raises:
        BundleError: it cannot be written, is being tuned by another process, or was changed
            since it was opened.
    """
    target = bundle.path / MANIFEST
    with contextlib.ExitStack() as stack:
        try:
            _check_folder(bundle.path / FOLDER)
            staged = stack.enter_context(staging_folder(target))
        except OSError as error:
            raise _unwritable(bundle.path, error) from error

        def write(settings: TunedSettings) -> None:
            try:
                with interrupt_deferred():
                    _write(bundle, settings, staged)
            except OSError as error:
                raise _unwritable(bundle.path, error) from error

        yield write


def _check_folder(place: Path) -> None:
    """Refuse a place that leads out of the bundle, or is no folder."""
    if place.is_symlink():
        raise BundleError(
            "{path} in the bundle is a symbolic link; a bundle holds plain files only.",
            path=FOLDER,
        )
    if place.exists() and not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


@contextlib.contextmanager
def _folder(place: Path) -> Iterator[None]:
    """Make the folder of the settings; one that stays empty goes again."""
    _check_folder(place)
    place.mkdir(exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it is not empty
            place.rmdir()


def _write(bundle: Bundle, settings: TunedSettings, staged: Path) -> None:
    manifest = Bundle.open(bundle.path, retuning=True).manifest
    if manifest != bundle.manifest:
        raise BundleError(
            "The bundle {path} was changed while it was being measured; nothing was written.",
            hint="Measure again: glmlite tune BUNDLE",
            path=str(bundle.path),
        )
    old = manifest.tuned_settings
    name = NAMES[1] if old == NAMES[0] else NAMES[0]
    content = settings.to_json().encode("utf-8")
    (staged / "tuned").write_bytes(content)
    (staged / MANIFEST).write_text(_with(manifest, name, content).to_json(), encoding="utf-8")
    with _folder(bundle.path / FOLDER):
        move_into_place(staged / "tuned", bundle.path / name)
        move_into_place(staged / MANIFEST, bundle.path / MANIFEST)
    if old in NAMES:
        (bundle.path / old).unlink(missing_ok=True)


def _with(manifest: Manifest, name: str, content: bytes) -> Manifest:
    """The manifest with other settings."""
    files = {path: file for path, file in manifest.files.items() if path not in NAMES}
    files[name] = FileEntry(len(content), hashlib.sha256(content).hexdigest())
    return dataclasses.replace(manifest, files=files, tuned_settings=name)


def _unwritable(folder: Path, error: OSError) -> BundleError:
    return BundleError(
        "The bundle {path} cannot be written: {error}.",
        hint="Copy it to where you may write, or see the figures alone: "
        "glmlite tune BUNDLE --dry-run",
        path=str(folder),
        error=error.strerror or str(error),
    )
