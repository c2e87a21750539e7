"""Giving pages of mapped files back to the system once they were read.

ONNX Runtime rearranges weights on all threads only if it may keep every mapped one until the last
is done: twice the weights in memory at the peak. The mapped half is needed once. What is given back
stays in the system's page cache, and is mapped again if somebody reads it after all.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

# Bytes of mapped files that may pile up, and how often that is looked at.
LIMIT = 128 * 2**20
SECONDS = 0.02
_DONTNEED = 4
_SMAPS, _STATM = "/proc/self/smaps", "/proc/self/statm"


@contextlib.contextmanager
def pages_given_back(folder: Path) -> Iterator[bool]:
    """Keep the process from holding much of the files in `folder` that it has mapped.

    Yields:
        Whether this system can do that.
    """
    if not (sys.platform == "linux" and os.access(_SMAPS, os.R_OK) and os.access(_STATM, os.R_OK)):
        yield False
        return
    stop = threading.Event()
    thread = threading.Thread(target=_watch, args=(folder, stop), daemon=True)
    thread.start()
    try:
        yield True
    finally:
        stop.set()
        thread.join()


def give_back(folder: Path) -> None:
    """Give back all pages of files in `folder`, except of mappings that were written to.

    Raises:
        OSError: /proc cannot be read.
    """
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for start, end in list(_clean_mappings(os.fsencode(os.path.realpath(folder)))):
        madvise(start, end - start, _DONTNEED)


def _watch(folder: Path, stop: threading.Event) -> None:
    with contextlib.suppress(OSError):  # only memory would be lost
        rest = _mapped_bytes()
        while not stop.wait(SECONDS):
            if _mapped_bytes() > rest + LIMIT:
                give_back(folder)
                rest = _mapped_bytes()


def _mapped_bytes() -> int:
    """Of files, libraries included, that are in this process's memory."""
    with open(_STATM, "rb") as file:
        return int(file.read().split()[2]) * os.sysconf("SC_PAGE_SIZE")


def _clean_mappings(folder: bytes) -> Iterator[tuple[int, int]]:
    """Addresses of mapped files in `folder`; a private page that was written is not in the file."""
    span: tuple[int, int] | None = None
    with open(_SMAPS, "rb") as file:
        for line in file:
            words = line.split(None, 5)
            if not words[0].endswith(b":"):
                inside = len(words) == 6 and words[5].startswith(folder + b"/")
                first, _dash, last = words[0].partition(b"-")
                span = (int(first, 16), int(last, 16)) if inside else None
            elif span and words[0] in (b"Anonymous:", b"Swap:") and words[1] != b"0":
                span = None
            elif span and words[0] == b"Swap:":
                yield span
                span = None
