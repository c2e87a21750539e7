"""Converted graphs carry their weights inside; here they get one weights file between them.

The converter rounds each weight the same way in every graph, so equal bytes are stored once. The
index gets the model's own parameters, with the converter's scales and zero points: the reference
engine and the accuracy report read exactly the integers that the graphs multiply with.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from glmlite.checkpoint import WeightSource
from glmlite.errors import ExportError
from glmlite.exporter.weights import DATA, WEIGHTS, WeightsFile
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import parameter_shapes
from glmlite.quant.numerics import Quantized
from glmlite.quant.weights import add_quantized
from glmlite.toolchain.mindir import MindIRError, rewrite_parameters
from glmlite.toolchain.mindir_quant import TypedParameter, list_typed_parameters
from glmlite.toolchain.weights import WeightsIndex

Place = tuple[str, int, int]  # as in glmlite.toolchain.mindir

_LOCATION = f"{WEIGHTS}/{DATA}"


def share_weights(
    folder: Path, graphs: Iterable[str], config: ModelConfig, source: WeightSource
) -> WeightsIndex:
    """Move the weights of the graphs in `folder` into `folder/weights`, each once.

    Args:
        folder: holds the MindIR files; they are replaced.
        graphs: their names.
        config: which parameters the index must list.
        source: the float weights; a parameter that no graph carries under its own name and shape
            (a converter may fold one away) is listed from here.

    Raises:
        ExportError: a graph's parameters cannot be read.
    """
    shapes = parameter_shapes(config)
    places: dict[tuple[str, bytes], Place] = {}
    with WeightsFile(folder / WEIGHTS) as file:
        for graph in graphs:
            _move(folder, graph, file, shapes, places)
        for name in sorted(set(shapes) - set(file.index.tensors)):
            file.add(name, np.ascontiguousarray(source.read(name)))
    return file.index


def _move(
    folder: Path,
    graph: str,
    file: WeightsFile,
    shapes: Mapping[str, tuple[int, ...]],
    places: dict[tuple[str, bytes], Place],
) -> None:
    path = folder / graph
    target = path.with_name(path.name + ".shared")
    try:
        own = _store(path, file, shapes, places)
        rewrite_parameters(os.fspath(path), os.fspath(target), own)
    except (MindIRError, OSError, ValueError) as error:
        raise ExportError(
            "What the converter wrote for {graph} cannot be used: {error}",
            graph=graph,
            error=str(error),
        ) from error
    target.replace(path)


def _store(
    path: Path,
    file: WeightsFile,
    shapes: Mapping[str, tuple[int, ...]],
    places: dict[tuple[str, bytes], Place],
) -> dict[str, Place]:
    """Put a graph's parameters into the shared file where they are new; where each lies."""
    own: dict[str, Place] = {}
    for parameter in list_typed_parameters(os.fspath(path)):
        stored = parameter.stored
        listed = shapes.get(stored.name) == parameter.shape
        origin = path if stored.location is None else path.parent / stored.location
        with origin.open("rb") as handle:
            handle.seek(stored.offset)
            data = handle.read(stored.length)
        # Constants may share bytes with anything; a parameter of the model is listed by its name.
        key = (stored.name if listed else "", hashlib.sha256(data).digest())
        if key not in places:
            if listed and stored.name not in file.index.tensors:
                offset = _add_parameter(file, parameter, data)
            else:
                offset = file.add_bytes(memoryview(data))
            places[key] = (_LOCATION, offset, len(data))
        own[stored.name] = places[key]
    return own


def _add_parameter(file: WeightsFile, parameter: TypedParameter, data: bytes) -> int:
    """List one of the model's parameters; returns the offset of its data."""
    name, shape = parameter.stored.name, parameter.shape
    if not parameter.dtype or len(data) != np.dtype(parameter.dtype).itemsize * math.prod(shape):
        raise ValueError(f"{name} is of another type or size than it says")
    array = np.frombuffer(data, parameter.dtype).reshape(shape)
    if parameter.scales:
        # Lite subtracts its zero points where glmlite (and Ascend) add them.
        scale = np.broadcast_to(np.array(parameter.scales, np.float32), shape[:1])
        zero_point = np.broadcast_to(-np.array(parameter.zero_points, np.float32), shape[:1])
        add_quantized(file, name, Quantized(array, scale.copy(), zero_point.copy()))
    else:
        file.add(name, array)
    return int(file.index.tensors[name]["offset"])
