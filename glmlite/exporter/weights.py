"""Writes the one weights file that all MindIR graphs of a bundle share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


class WeightsFile:
    """`data_0` and `index.json` in a new folder, written tensor by tensor; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tensors: dict[str, dict[str, object]] = {}
        self._quantized: dict[str, Mapping[str, Any]] = {}

    def __enter__(self) -> WeightsFile:
        self._folder.mkdir()
        self._file = (self._folder / DATA).open("wb")
        self._file.write(HEADER)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        self._file.close()
        if kind is None:
            (self._folder / INDEX).write_text(self.index.to_json(), encoding="utf-8")

    @property
    def index(self) -> WeightsIndex:
        """What has been written so far."""
        return WeightsIndex(DATA, self._tensors, self._quantized)

    def add(self, name: str, array: NDArray[Any]) -> None:
        """Append one contiguous array at the next aligned offset."""
        self._tensors[name] = {
            "dtype": array.dtype.name,
            "shape": list(array.shape),
            "offset": self.add_bytes(array.data.cast("B")),
            "nbytes": array.nbytes,
        }

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
        self._file.write(data)
        self._file.write(bytes(-data.nbytes % ALIGNMENT))
        return offset


def write_weights(
    source: WeightSource, config: ModelConfig, dtype: str, folder: Path, progress: Progress
) -> WeightsIndex:
    """Stream every parameter of `config` into `folder`; one tensor is in memory at a time.

    Args:
        source: where the weights come from.
        config: which parameters, and their shapes.
        dtype: "float32" or "float16".
        folder: made here; gets `data_0` and `index.json` (`glmlite.toolchain.weights`).
        progress: advances by bytes written.

    Raises:
        CheckpointError: a tensor cannot be read, or does not fit float16.
    """
    shapes = parameter_shapes(config)
    with WeightsFile(folder) as file:
        for name in sorted(shapes):
            array = source.read(name)
            if dtype == "float16":
                largest = float(np.abs(array).max())
                if largest > float(np.finfo(np.float16).max):
                    raise CheckpointError(
                        "{name} holds {largest:.3g}, which float16 cannot hold.",
                        hint="Export in float32: --set model.dtype=float32.",
                        name=name,
                        largest=largest,
                    )
            data = np.ascontiguousarray(array, dtype=dtype).reshape(shapes[name])
            file.add(name, data)
            progress.advance(data.nbytes)
    return file.index


def write_prefix(prefix: Prefix | None, folder: Path) -> None:
    """Write a P-Tuning prefix as `prefix_cache.npy`: float32 [layers, 2, groups, P, head_dim]."""
    if prefix:
        np.save(folder / PREFIX_CACHE, np.array(prefix, dtype=np.float32))


def weights_bytes(config: ModelConfig, dtype: str) -> int:
    """Bytes of all parameters in `dtype`."""
    count = sum(math.prod(shape) for shape in parameter_shapes(config).values())
    return count * np.dtype(dtype).itemsize
