"""Reading a file that a user named, with an upper limit that does not rely on what it says."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

from glmlite.errors import ConfigError


def read_regular(path: Path, limit: int) -> bytes:
    """The bytes of a regular file; one more than `limit` at most, so that callers see it passed.

    A pipe would block, and a device such as /dev/zero, whose size is 0, would fill the memory; both
    are opened without waiting and looked at before anything is read.

    Raises:
        ConfigError: it is something else than a regular file.
        OSError: it cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise ConfigError("{file} is not a regular file.", file=str(path))
        return file.read(limit + 1)


def decode(content: bytes, encoding: str = "utf-8") -> str:
    """Text as `Path.read_text` gives it: all line ends become one kind.

    Raises:
        UnicodeDecodeError: it is no such text.
    """
    return io.TextIOWrapper(io.BytesIO(content), encoding=encoding).read()
