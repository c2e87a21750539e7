"""Quantized weights: computed on the fly from a float source, or written as a bundle's file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from glmlite.checkpoint import WeightSource
from glmlite.exporter.weights import WeightsFile
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import parameter_shapes
from glmlite.progress import Progress
from glmlite.quant.numerics import Quantized, dequantize, quantize, to_unsigned
from glmlite.toolchain.quantized import SCALE, ZERO_POINT
from glmlite.toolchain.weights import WeightsIndex

Integer = Literal["int8", "uint8"]


class QuantizedSource:
    """A `WeightSource` that gives chosen weights as quantization would leave them.

    Args:
        source: the float weights.
        names: which ones are quantized.
    """

    def __init__(self, source: WeightSource, names: Collection[str]) -> None:
        self._source, self._names = source, frozenset(names)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Parameter name -> shape."""
        return self._source.shapes()

    def read(self, name: str) -> NDArray[Any]:
        """One parameter; a quantized one rounded and back, float32."""
        weight = self._source.read(name)
        return dequantize(quantize(weight, name=name)) if name in self._names else weight


def write_quantized(
    source: WeightSource,
    config: ModelConfig,
    names: Collection[str],
    integer: Integer,
    dtype: str | None,
    folder: Path,
    progress: Progress,
) -> WeightsIndex:
    """Write every parameter into a new folder, the chosen ones as integers.

    Args:
        source: the float weights; one tensor is in memory at a time.
        config: which parameters there are.
        names: which ones become integers, with a scale and a zero point for each row.
        integer: "int8", or "uint8" with the zero points shifted by 128.
        dtype: of the other parameters; None leaves them as they are.
        folder: made here.
        progress: advances by one for each parameter.
    """
    with WeightsFile(folder) as file:
        for name in sorted(parameter_shapes(config)):
            weight = source.read(name)
            if name in names:
                quantized = quantize(weight, name=name)
                add_quantized(
                    file, name, to_unsigned(quantized) if integer == "uint8" else quantized
                )
            else:
                file.add(name, np.ascontiguousarray(weight, dtype=dtype))
            progress.advance()
    return file.index


def add_quantized(file: WeightsFile, name: str, quantized: Quantized) -> None:
    """Append a quantized matrix and its two companions."""
    file.add(name, quantized.values)
    file.add(name + SCALE, quantized.scale)
    file.add(name + ZERO_POINT, quantized.zero_point)


def stored_bytes(index: WeightsIndex) -> int:
    """Bytes of all tensors in a weights file."""
    return sum(int(entry["nbytes"]) for entry in index.tensors.values())
