"""Writes the one weights file that all MindIR graphs of a bundle share."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

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
    folder.mkdir()
    shapes = parameter_shapes(config)
    tensors: dict[str, dict[str, object]] = {}
    with (folder / DATA).open("wb") as file:
        file.write(HEADER)
        offset = len(HEADER)
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
            data = np.ascontiguousarray(array, dtype=dtype)
            padding = -data.nbytes % ALIGNMENT
            file.write(data.data.cast("B"))
            file.write(bytes(padding))
            tensors[name] = {
                "dtype": dtype,
                "shape": list(shapes[name]),
                "offset": offset,
                "nbytes": data.nbytes,
            }
            offset += data.nbytes + padding
            progress.advance(data.nbytes)
    index = WeightsIndex(DATA, tensors)
    (folder / INDEX).write_text(index.to_json(), encoding="utf-8")
    return index


def write_prefix(prefix: Prefix | None, folder: Path) -> None:
    """Write a P-Tuning prefix as `prefix_cache.npy`: float32 [layers, 2, groups, P, head_dim]."""
    if prefix:
        np.save(folder / PREFIX_CACHE, np.array(prefix, dtype=np.float32))


def weights_bytes(config: ModelConfig, dtype: str) -> int:
    """Bytes of all parameters in `dtype`."""
    count = sum(math.prod(shape) for shape in parameter_shapes(config).values())
    return count * np.dtype(dtype).itemsize
