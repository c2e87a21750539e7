"""Writes the one weights file that all graphs of a bundle share."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmlite.bundle.manifest import FileEntry
from glmlite.checkpoint import WeightSource
from glmlite.checkpoint.prefix import Prefix
from glmlite.errors import CheckpointError
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import parameter_shapes
from glmlite.progress import Progress
from glmlite.toolchain.weights import ALIGNMENT, HEADER, WeightsIndex

WEIGHTS = "weights"
PREFIX_CACHE = "prefix_cache.npy"
DATA = "data_0"
INDEX = "index.json"
# Elements that are converted, written and hashed at a time; fewer bytes are hashed in passing.
_BLOCK = 1 << 22
_HASHED_APART = 1 << 20


class WeightsFile:
    """`data_0` and `index.json` in a new folder, written tensor by tensor; a context manager.

    The data file is hashed by a second thread as it is written: reading it again would cost half
    as much time as writing it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digest = hashlib.sha256()
        self._hasher = ThreadPoolExecutor(1)
        self._tensors: dict[str, dict[str, object]] = {}
        self._quantized: dict[str, Mapping[str, Any]] = {}

    def __enter__(self) -> WeightsFile:
        self._folder.mkdir()
        self._file = (self._folder / DATA).open("wb")
        self._put(memoryview(HEADER))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        self._hasher.shutdown()
        self._file.close()
        if kind is None:
            (self._folder / INDEX).write_text(self.index.to_json(), encoding="utf-8")

    @property
    def index(self) -> WeightsIndex:
        """What has been written so far."""
        return WeightsIndex(DATA, self._tensors, self._quantized)

    @property
    def entry(self) -> FileEntry:
        """Size and sha256 of the data file, once it is complete."""
        return FileEntry((self._folder / DATA).stat().st_size, self._digest.hexdigest())

    def add(self, name: str, array: NDArray[Any]) -> None:
        """Append one contiguous array at the next aligned offset."""
        self.add_blocks(name, array.dtype.name, array.shape, [array])

    def add_blocks(
        self, name: str, dtype: str, shape: tuple[int, ...], blocks: Iterable[NDArray[Any]]
    ) -> None:
        """Append an array that comes in contiguous pieces, of which each is used up at once."""
        offset = self._file.tell()
        for block in blocks:
            self._put(block.data.cast("B"))
        nbytes = self._file.tell() - offset
        self._put(memoryview(bytes(-nbytes % ALIGNMENT)))
        entry = {"dtype": dtype, "shape": list(shape), "offset": offset, "nbytes": nbytes}
        self._tensors[name] = entry

    def add_quantized(
        self, name: str, form: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
    ) -> None:
        """Append a quantized matrix: its companions, by suffix, and how to read them."""
        self._quantized[name] = form
        for suffix, array in tensors.items():
            self.add(name + suffix, array)

    def add_bytes(self, data: memoryview) -> int:
        """Append data that the index does not list; returns its offset."""
        offset = self._file.tell()
        self._put(data)
        self._put(memoryview(bytes(-data.nbytes % ALIGNMENT)))
        return offset

    def _put(self, data: memoryview) -> None:
        if data.nbytes < _HASHED_APART:
            self._digest.update(data)
            self._file.write(data)
            return
        hashed = self._hasher.submit(self._digest.update, data)
        try:
            self._file.write(data)
        finally:
            hashed.result()


def write_weights(
    source: WeightSource, config: ModelConfig, dtype: str, folder: Path, progress: Progress
) -> FileEntry:
    """Stream every parameter of `config` into `folder`; one tensor is in memory at a time.

    Args:
        source: where the weights come from.
        config: which parameters, and their shapes.
        dtype: "float32" or "float16".
        folder: made here; gets `data_0` and `index.json` (`glmlite.toolchain.weights`).
        progress: advances by bytes written.

    Returns:
        Size and hash of the data file.

    Raises:
        CheckpointError: a tensor cannot be read, or does not fit float16.
    """
    shapes = parameter_shapes(config)
    with WeightsFile(folder) as file:
        for name in sorted(shapes):
            blocks = _convert(name, source.read(name), dtype, progress)
            file.add_blocks(name, dtype, shapes[name], blocks)
    return file.entry


def _convert(
    name: str, array: NDArray[Any], dtype: str, progress: Progress
) -> Iterator[NDArray[Any]]:
    """An array as `dtype`, a few megabytes at a time."""
    flat = np.ascontiguousarray(array).reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        if dtype == "float16" and block.dtype != np.float16:
            largest = float(max(block.max(), -block.min()))
            if largest > float(np.finfo(np.float16).max):
                raise CheckpointError(
                    "{name} holds {largest:.3g}, which float16 cannot hold.",
                    hint="Export in float32: --set model.dtype=float32.",
                    name=name,
                    largest=largest,
                )
        converted = block.astype(dtype, copy=False)
        yield converted
        progress.advance(converted.nbytes)


def link_weights(folder: Path, target: Path, config: ModelConfig) -> None:
    """A second folder of weights for a part of the model, over the same data file.

    Args:
        folder: of the model's weights, one plain tensor a parameter.
        target: made here; `data_0` in it is a hard link.
        config: the part, of the same sizes with fewer layers.

    Raises:
        OSError: the file system has no hard links; `target` is not there then.
        KeyError: a parameter is not in the folder.
    """
    index = WeightsIndex.read(os.fspath(folder / INDEX))
    part = WeightsIndex(
        index.file, {name: index.tensors[name] for name in parameter_shapes(config)}
    )
    target.mkdir()
    try:
        os.link(folder / index.file, target / index.file)
    except OSError:
        target.rmdir()
        raise
    (target / INDEX).write_text(part.to_json(), encoding="utf-8")


def write_prefix(prefix: Prefix | None, folder: Path) -> None:
    """Write a P-Tuning prefix as `prefix_cache.npy`: float32 [layers, 2, groups, P, head_dim]."""
    if prefix:
        np.save(folder / PREFIX_CACHE, np.array(prefix, dtype=np.float32))


def weights_bytes(config: ModelConfig, dtype: str) -> int:
    """Bytes of all parameters in `dtype`."""
    count = sum(math.prod(shape) for shape in parameter_shapes(config).values())
    return count * np.dtype(dtype).itemsize
