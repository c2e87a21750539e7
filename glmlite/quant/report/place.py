"""Where the page of `glmlite quantize --accuracy-only` may be written."""

from __future__ import annotations

import os
from pathlib import Path

from glmlite.bundle.bundle import MANIFEST
from glmlite.errors import ConfigError

SUFFIX = ".html"


def check_page(path: Path) -> None:
    """See that a page can be written there; before the measuring, not after it.

    Raises:
        ConfigError: it is no name of a page, lies in a bundle, whose files are all listed and
            hashed, or its folder cannot be written.
    """
    if path.suffix.lower() != SUFFIX:
        raise ConfigError(
            "--report {path}: the name must end in {suffix}.", path=str(path), suffix=SUFFIX
        )
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(
            "--report {path}: the folder does not exist or cannot be written.", path=str(path)
        )
    if path.exists() and not path.is_file():
        raise ConfigError("{file} is not a regular file.", file=str(path))
    for place in (folder.resolve(), path.resolve().parent):
        for above in (place, *place.parents):
            if (above / MANIFEST).exists():
                raise ConfigError(
                    "--report {path} lies in the bundle {bundle}, which stays as it is.",
                    hint="Name a file elsewhere: --report report.html",
                    path=str(path),
                    bundle=str(above),
                )
