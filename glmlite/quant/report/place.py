"""Where the page of `glmlite quantize --accuracy-only` may be written."""

from __future__ import annotations

import json
import os
from pathlib import Path

from glmlite.bundle.bundle import MANIFEST
from glmlite.errors import ConfigError

SUFFIX = ".html"
# What a bundle's manifest has, whatever its version.
_KEYS = ("schema_version", "graphs")


def check_page(path: Path) -> None:
    """See that a page can be written there; before the measuring, not after it.

    Raises:
        ConfigError: it is no name of a page, lies in a bundle, whose files are all listed and
            hashed, or its folder cannot be written.
    """
    if path.suffix.lower() != SUFFIX:
        raise _no_page(path)
    target = path.resolve()  # a link stays, and what it names is written
    folder = target.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(
            "--report {path}: the folder does not exist or cannot be written.", path=str(path)
        )
    if path.exists() and not path.is_file():
        raise ConfigError("{file} is not a regular file.", file=str(path))
    for place in (path.absolute().parent.resolve(), folder):
        for above in (place, *place.parents):
            if _is_bundle(above):
                raise ConfigError(
                    "--report {path} lies in the bundle {bundle}, which stays as it is.",
                    hint="Name a file elsewhere: --report report.html",
                    path=str(path),
                    bundle=str(above),
                )
    if target.suffix.lower() != SUFFIX:
        raise _no_page(target)


def _no_page(path: Path) -> ConfigError:
    return ConfigError(
        "--report {path}: the name must end in {suffix}.", path=str(path), suffix=SUFFIX
    )


def _is_bundle(folder: Path) -> bool:
    """Whether the manifest in there is a bundle's, be it a damaged one: others have files so named.

    Web projects do, and a page may lie anywhere below those.
    """
    manifest = folder / MANIFEST
    try:
        text = manifest.read_text(encoding="utf-8", errors="replace") if manifest.is_file() else ""
    except OSError:
        return False
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return any(f'"{key}"' in text for key in _KEYS)  # half of one may be missing
    return isinstance(data, dict) and all(key in data for key in _KEYS)
