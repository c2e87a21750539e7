"""The standard streams: there, whoever started the program, and with errors that fit each of them.

Standard output names itself when it cannot be written, because what was asked for is lost. Remarks
on standard error are lost silently: work of hours does not end because a log's disk is full.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING, cast

from glmlite.i18n import _

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# Standard input, output and error have the descriptors below.
_STANDARD = 3


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
            return self._write_some(data)
        except OSError as error:
            self._broken = True
            raise OSError(error.errno, error.strerror, _("Standard output")) from error

    def _write_some(self, data: ReadableBuffer) -> int:
        """What one write takes, which may be a part: whoever buffers counts it and goes on."""
        written: int | None
        # A descriptor that does not wait, as other programs leave a terminal, gives None.
        while (written := super().write(data)) is None:
            select.select([], [self], [])
        return written


class _Remarks(io.FileIO):
    """A file descriptor that takes everything; what it cannot write is lost."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            # A descriptor that does not wait gives None where it would have to.
            written: int | None = super().write(data)
        except OSError:
            written = None
        return memoryview(data).nbytes if written is None else written


class _Immediate(io.BufferedWriter):
    """Keeps nothing back, and writes all of it.

    Text right above a descriptor loses what the descriptor does not take at once.
    """

    def write(self, data: ReadableBuffer, /) -> int:
        written = super().write(data)
        self.flush()
        return written


def prepare_streams() -> None:
    """Let `sys.stdin`, `sys.stdout` and `sys.stderr` be what commands may rely on."""
    open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows a mark in its place.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    name_standard_output()
    forgive_standard_error()


def open_closed_streams() -> None:
    """Put an empty input, and outputs that nobody reads, in the place of streams that are closed.

    Their descriptors are taken first: the next file that is opened would get one of them, and
    whatever writes to "standard output" by its number would write into that file.
    """
    # The system gives the lowest number that is free.
    while (number := os.open(os.devnull, os.O_RDWR)) < _STANDARD:
        os.set_inheritable(number, True)  # processes that are started have the same need
    os.close(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)
            # What takes the stream's place goes on using the descriptor.
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def name_standard_output() -> None:
    """Let errors of writing to `sys.stdout` say what could not be written."""
    sys.stdout = _over(sys.stdout, _NamedOutput)


def forgive_standard_error() -> None:
    """Let writing to `sys.stderr` never fail."""
    sys.stderr = _over(sys.stderr, _Remarks)


def _over(old: object, kind: type[io.FileIO]) -> io.TextIOWrapper:
    """A stream like `old` whose descriptor is written by `kind`; `old` where it has none."""
    if not isinstance(old, io.TextIOWrapper):
        return cast("io.TextIOWrapper", old)  # a program's own
    try:
        descriptor = old.fileno()
        old.flush()
    except (OSError, ValueError):
        return old  # no file
    raw = kind(descriptor, "wb", closefd=False)
    # Under `python -u` text is written through.
    writer = _Immediate if old.write_through else io.BufferedWriter
    return io.TextIOWrapper(
        writer(raw),
        encoding=old.encoding,
        errors=old.errors,
        line_buffering=old.line_buffering,
        write_through=old.write_through,
    )
