"""Lite's converter puts the weights into each graph; here they lie in the bundle's file once.

It gives them names of its own, so they are known by their bytes: what equals a tensor of the
weights index becomes a reference to it. What the converter changed, folded or added is appended to
the data file, once for all graphs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from glmlite.bundle.contents import read_index
from glmlite.errors import ExportError
from glmlite.exporter.weights import DATA, INDEX, WEIGHTS
from glmlite.toolchain.mindir import (
    MindIRError,
    StoredParameter,
    list_parameters,
    rewrite_parameters,
)
from glmlite.toolchain.weights import ALIGNMENT

Place = tuple[str, int, int]  # as in glmlite.toolchain.mindir
Content = tuple[int, bytes]  # bytes and their SHA-256

_LOCATION = f"{WEIGHTS}/{DATA}"
_BLOCK = 8 << 20


class SharedFile:
    """The data file of a staged bundle, to which graphs move their weights.

    Args:
        folder: of the bundle; `weights/` is complete.

    Attributes:
        appended: bytes that were added.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[Content, Place] = {}
        self.appended = 0
        for entry in read_index(folder / WEIGHTS / INDEX).tensors.values():
            offset, length = int(entry["offset"]), int(entry["nbytes"])
            content = _content(folder / _LOCATION, offset, length)
            self._places.setdefault(content, (_LOCATION, offset, length))

    def take(self, written: str, graph: str) -> None:
        """Move the weights out of a graph, and out of files that the converter laid beside it.

        Args:
            written: the converter's file; it is removed, as is all that belongs to it.
            graph: the file to make of it.

        Raises:
            ExportError: the graph's parameters cannot be read.
        """
        path = self._folder / written
        target = path.with_name(path.name + ".shared")
        try:
            parameters = list_parameters(os.fspath(path))
            places = {p.name: self._place(path, p) for p in parameters}
            if len(places) != len(parameters):
                raise MindIRError("two of its parameters have one name")
            rewrite_parameters(os.fspath(path), os.fspath(target), places)
        except (MindIRError, OSError, ValueError) as error:
            raise ExportError(
                "What the converter wrote for {graph} cannot be used: {error}",
                graph=graph,
                error=str(error),
            ) from error
        path.unlink()
        target.replace(self._folder / graph)
        # Above 1 GiB the converter writes NAME_graph.mindir and NAME_variables/data_0.
        for place in {path.parent / p.location for p in parameters if p.location}:
            place.unlink()
            if place.parent != self._folder and not any(place.parent.iterdir()):
                place.parent.rmdir()

    def _place(self, path: Path, parameter: StoredParameter) -> Place:
        origin = path if parameter.location is None else path.parent / parameter.location
        content = _content(origin, parameter.offset, parameter.length)
        if content not in self._places:
            self._places[content] = self._append(origin, parameter)
        return self._places[content]

    def _append(self, origin: Path, parameter: StoredParameter) -> Place:
        with (self._folder / _LOCATION).open("ab") as file:
            offset = file.tell()
            for block in _blocks(origin, parameter.offset, parameter.length):
                file.write(block)
            file.write(bytes(-parameter.length % ALIGNMENT))
            self.appended += file.tell() - offset
        return _LOCATION, offset, parameter.length


def _blocks(path: Path, offset: int, length: int) -> Iterator[bytes]:
    """Bytes of a file, a few megabytes at a time."""
    with path.open("rb") as file:
        file.seek(offset)
        while length:
            block = file.read(min(length, _BLOCK))
            if not block:
                raise ValueError(f"{path.name} ends early")
            yield block
            length -= len(block)


def _content(path: Path, offset: int, length: int) -> Content:
    digest = hashlib.sha256()
    for block in _blocks(path, offset, length):
        digest.update(block)
    return length, digest.digest()
