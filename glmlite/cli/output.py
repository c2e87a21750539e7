"""Reports that end with standard output, and say that what they tell of does not."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from glmlite.errors import GlmliteError


@contextlib.contextmanager
def telling_of(bundle: Path | str) -> Iterator[None]:
    """Print what came of a bundle; where that cannot be, say that the bundle itself is complete.

    Raises:
        GlmliteError: standard output cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise  # nobody wants to know
        raise GlmliteError(
            "Standard output cannot be written: {error}.",
            hint="Only the report is lost; the bundle is complete: {path}",
            error=error.strerror or str(error),
            path=str(bundle),
        ) from error
