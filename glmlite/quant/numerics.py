"""Affine integer quantization in plain NumPy: what Ascend's on-the-fly dequantization computes.

A real value is `(q + zero_point) · scale`, with one scale and zero point a group of values. A group
is the last axis: of a weight [out_features, in_features] that is one output channel; split into
blocks, [out_features, blocks, block_size], one block. Bits are a parameter, so recipes that differ
in groups or bits share this module.

Source: MindSpore Lite, "Post Training Quantization", on-the-fly quantization: min/max, asymmetric,
no calibration. The range always includes 0, so that 0 stays exactly 0.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmlite.errors import CheckpointError

UINT8_SHIFT = 128
# Values that are worked on at a time: a 6B model's output layer would take gigabytes in float64.
_BLOCK = 1 << 22


@dataclasses.dataclass(frozen=True)
class Quantized:
    """Integers and how to read them.

    Attributes:
        values: int8 or uint8 [..., n].
        scale: float32 [...], above 0.
        zero_point: float32 [...], whole numbers; added to the values, as AntiQuant does.
    """

    values: NDArray[Any]
    scale: NDArray[np.float32]
    zero_point: NDArray[np.float32]

    def __post_init__(self) -> None:
        groups = self.values.shape[:-1]
        if self.scale.shape != groups or self.zero_point.shape != groups:
            raise ValueError("scale and zero point must have one value for each group")


def quantize(weight: NDArray[Any], bits: int = 8, *, name: str = "-") -> Quantized:
    """Round every group (the last axis) to `bits` signed bits.

    The scale is (max - min) / (2^bits - 1) with 0 in the range, so the error of a value is at most
    half a scale. A group of zeros becomes zeros, a constant one is exact to float32.

    Args:
        weight: float [..., n], n ≥ 1; computed in float64.
        bits: 2 to 8; the values lie in [-2^(bits-1), 2^(bits-1) - 1].
        name: of the weight, for messages.

    Returns:
        int8 values of the same shape.

    Raises:
        CheckpointError: the weight holds NaN or infinity.
    """
    if not 2 <= bits <= 8:
        raise ValueError("bits must lie in 2 … 8")
    groups = weight.reshape(-1, weight.shape[-1])
    if not np.isfinite(groups.min(initial=0)) or not np.isfinite(groups.max(initial=0)):
        raise CheckpointError(
            "Tensor {name} holds NaN or infinity; it cannot be quantized.",
            hint="Check the bundle: glmlite inspect BUNDLE --verify",
            name=name,
        )
    values = np.empty(groups.shape, np.int8)
    scale, zero_point = np.empty((2, len(groups)), np.float32)
    rows = max(1, _BLOCK // weight.shape[-1])
    for start in range(0, len(groups), rows):
        part = slice(start, start + rows)
        values[part], scale[part], zero_point[part] = _quantize_groups(groups[part], bits)
    shape = weight.shape[:-1]
    return Quantized(values.reshape(weight.shape), scale.reshape(shape), zero_point.reshape(shape))


def _quantize_groups(
    groups: NDArray[Any], bits: int
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float64]]:
    """Values, scale and zero point of [groups, n]."""
    low = np.minimum(groups.min(axis=-1), 0).astype(np.float64)
    high = np.maximum(groups.max(axis=-1), 0).astype(np.float64)
    smallest, largest = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    scale = ((high - low) / (largest - smallest)).astype(np.float32)
    # A subnormal range would have a scale that float32 rounds to 0; it is noise, and becomes 0.
    empty = scale < np.finfo(np.float32).tiny
    scale = np.where(empty, np.float32(1), scale)
    # The rounded scale is the one that is stored, so it is the one to divide by.
    step = scale.astype(np.float64)
    zero_point = np.where(empty, 0.0, np.rint(low / step) - smallest)
    values = np.rint(groups / step[:, None]) - zero_point[:, None]
    return np.clip(values, smallest, largest), scale, zero_point


def to_unsigned(quantized: Quantized) -> Quantized:
    """The same real values in uint8: values 128 higher, zero points 128 lower.

    Lite 2.0.0 has a kernel that casts from uint8 and none that casts from int8.
    """
    values = (quantized.values.view(np.uint8) ^ np.uint8(UINT8_SHIFT)).astype(np.uint8)
    return Quantized(values, quantized.scale, quantized.zero_point - np.float32(UINT8_SHIFT))


def dequantize(quantized: Quantized) -> NDArray[np.float32]:
    """`(q + zero_point) · scale` in float32; the sum is a small whole number, so it is exact."""
    real = quantized.values.astype(np.float32)
    real += quantized.zero_point[..., None]
    real *= quantized.scale[..., None]
    return real


def split_blocks(weight: NDArray[Any], block_size: int) -> NDArray[Any]:
    """[out, in] -> [out, in / block_size, block_size], for one scale a block.

    Raises:
        ValueError: the blocks do not fill the rows.
    """
    if block_size < 1 or weight.shape[-1] % block_size:
        raise ValueError(f"rows of {weight.shape[-1]} do not divide into blocks")
    return weight.reshape(*weight.shape[:-1], -1, block_size)
