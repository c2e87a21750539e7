"""Standard output that says so when it cannot be written, and reports that end with it."""

from __future__ import annotations

import contextlib
import errno
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from glmlite.errors import GlmliteError
from glmlite.i18n import _

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _NamedOutput(io.FileIO):
    """A file descriptor whose errors name it, as those of files do.

    After an error it takes everything: what is still buffered would fail again at the end of the
    process, with a traceback.
    """

    _broken = False

    def write(self, data: ReadableBuffer, /) -> int:
        nbytes = memoryview(data).nbytes
        if self._broken or not nbytes:  # Click writes nothing to see whether it can
            return nbytes
        try:
            return super().write(data)
        except OSError as error:
            self._broken = True
            raise OSError(error.errno, error.strerror, _("Standard output")) from error


def name_standard_output() -> None:
    """Let errors of writing to `sys.stdout` say what could not be written."""
    old = sys.stdout
    if not isinstance(old, io.TextIOWrapper):
        return  # closed, or a program's own
    try:
        descriptor = old.fileno()
        old.flush()
    except (OSError, ValueError):
        return  # no file
    raw = _NamedOutput(descriptor, "wb", closefd=False)
    # Under `python -u` there is no buffer between the text and the file.
    buffered = isinstance(old.buffer, io.BufferedIOBase)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw) if buffered else cast("BinaryIO", raw),
        encoding=old.encoding,
        errors=old.errors,
        line_buffering=old.line_buffering,
        write_through=old.write_through,
    )


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
