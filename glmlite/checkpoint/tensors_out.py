"""Tensors on their way into a file: their type, shape and bytes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from glmlite.checkpoint.source import WeightSource
from glmlite.errors import CheckpointError

ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
DTYPES = tuple(ITEM_BYTES)


@dataclasses.dataclass(frozen=True)
class OutputTensor:
    """One tensor of a source, to be written as `dtype`.

    Attributes:
        name: in the source.
        dtype: "float32", "float16" or "bfloat16".
    """

    source: WeightSource
    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]

    def read(self) -> memoryview:
        """The bytes, little-endian, in C order.

        Raises:
            CheckpointError: the tensor cannot be read, or does not fit the type.
        """
        return encode(self.source.read(self.name), self.dtype, self.name)


def encode(array: NDArray[np.floating], dtype: str, name: str) -> memoryview:
    """An array's bytes in another type; values that it holds exactly stay as they are.

    Args:
        array: float16 or float32, finite.
        dtype: "float32", "float16" or "bfloat16"; narrowing rounds to nearest, ties to even.
        name: how messages call the tensor.

    Raises:
        CheckpointError: a value is beyond what `dtype` can hold.
    """
    with np.errstate(over="ignore"):
        if dtype == "bfloat16":
            data = _to_bfloat16(array.astype("<f4", copy=False))
            overflow = bool(((data & 0x7F80) == 0x7F80).any())
        else:
            data = np.ascontiguousarray(array, dtype={"float32": "<f4", "float16": "<f2"}[dtype])
            overflow = not np.isfinite(data).all()
    if overflow:
        raise CheckpointError(
            "{name} holds {largest:.3g}, which {dtype} cannot hold.",
            hint="Convert it to float32: --dtype float32",
            name=name,
            largest=float(np.abs(array).max()),
            dtype=dtype,
        )
    return data.data.cast("B")


def _to_bfloat16(array: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper halves of float32 values, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(array).view(np.uint32)
    rounded = bits + (0x7FFF + ((bits >> 16) & 1))
    return (rounded >> 16).astype("<u2")
