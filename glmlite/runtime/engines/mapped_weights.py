"""A graph's weights as ONNX Runtime gets them: mapped once, by us, while the graph is open.

ONNX Runtime rearranges weights on all threads only if it may keep every one of them until the last
is done: with its own mappings, twice the weights in memory at the peak. Of a mapping of ours, pages
are given back to the system as they pile up. It is shared and cannot be written, so nothing in it
can be lost: what is read again comes from the page cache, or from the file.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from glmlite.bundle.onnx_file import OnnxFile

# Bytes of mapped files that may pile up, and how often that is looked at.
LIMIT = 128 * 2**20
SECONDS = 0.02
_STATM = "/proc/self/statm"


def can_give_back() -> bool:
    """Whether this system takes pages back, and says how many there are."""
    return sys.platform == "linux" and os.access(_STATM, os.R_OK)


class MappedWeights:
    """The external tensors of one graph.

    Args:
        folder: of the graph.
        file: what it says of itself; see `check_onnx_graphs`.
        onnxruntime: the package.

    Attributes:
        values: name -> `OrtValue` over the mapping. A session that was given them keeps pointers
            only: they have to live as long as it does.

    Raises:
        OSError: a file cannot be mapped.
    """

    def __init__(self, folder: Path, file: OnnxFile, onnxruntime: Any) -> None:
        self._mapped: dict[str, mmap.mmap] = {}
        self.values: dict[str, Any] = {}
        for tensor in file.initializers:
            dtype = np.dtype(tensor.dtype)
            # What does not lie where its dtype wants it is left to ONNX Runtime.
            if tensor.location is None or not tensor.length or tensor.offset % dtype.itemsize:
                continue
            if tensor.location not in self._mapped:
                self._mapped[tensor.location] = _map(folder / tensor.location)
            pages = self._mapped[tensor.location]
            count = tensor.length // dtype.itemsize
            array = np.frombuffer(pages, dtype, count, tensor.offset).reshape(tensor.shape)
            self.values[tensor.name] = onnxruntime.OrtValue.ortvalue_from_numpy(array)

    def give_back(self) -> None:
        """Give all pages back to the system."""
        for pages in self._mapped.values():
            pages.madvise(mmap.MADV_DONTNEED)

    @contextlib.contextmanager
    def giving_back(self) -> Iterator[bool]:
        """Keep pages from piling up.

        Yields:
            Whether that works here.
        """
        stop = threading.Event()
        thread = threading.Thread(target=self._watch, args=(stop,), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads
            yield False
            return
        try:
            yield True
        finally:
            stop.set()
            thread.join()
            self.give_back()

    def _watch(self, stop: threading.Event) -> None:
        rest = _mapped_bytes()
        while not stop.wait(SECONDS):
            now = _mapped_bytes()
            rest = min(rest, now)
            if now > rest + LIMIT:
                self.give_back()
                rest = _mapped_bytes()


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _mapped_bytes() -> int:
    """Of files, libraries included, that are in this process's memory."""
    with open(_STATM, "rb") as file:
        return int(file.read().split()[2]) * mmap.PAGESIZE
