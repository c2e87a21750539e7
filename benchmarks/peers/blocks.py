"""The block formats of ggml that both peers read, in NumPy: 32 values and one float16 scale.

Q8_0: scale, then 32 int8. Q4_0: scale, then 16 bytes; byte i holds value i in its low four bits and
value i + 16 in its high ones, 8 standing for zero.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Bytes = NDArray[np.uint8]

BLOCK = 32
# Values that are worked on at a time: their temporaries stay in a core's cache.
_PART = 1 << 16
_MAGIC = np.float32(12_582_912)  # 1.5 * 2**23: adding it rounds to a whole number


def quantize_q8_0(weight: Float32Array) -> Bytes:
    """Q8_0 of a float32 [out, in], in a multiple of 32: uint8 [out * in / 32, 34]."""
    return _in_parts(weight, 34, _q8_0)


def quantize_q4_0(weight: Float32Array) -> Bytes:
    """Q4_0 of a float32 [out, in], in a multiple of 32: uint8 [out * in / 32, 18]."""
    return _in_parts(weight, 18, _q4_0)


def dequantize_q8_0(blocks: Bytes) -> Float32Array:
    """What Q8_0 stands for: [blocks, 34] -> float32 [blocks, 32]."""
    return blocks[:, 2:].view(np.int8).astype(np.float32) * _scales(blocks)


def dequantize_q4_0(blocks: Bytes) -> Float32Array:
    """What Q4_0 stands for: [blocks, 18] -> float32 [blocks, 32]."""
    nibbles = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
    return (nibbles.astype(np.float32) - 8) * _scales(blocks)


def _scales(blocks: Bytes) -> Float32Array:
    return np.ascontiguousarray(blocks[:, :2]).view(np.float16).astype(np.float32)


def _in_parts(
    weight: Float32Array, size: int, quantize: Callable[[Float32Array, Bytes], None]
) -> Bytes:
    groups = np.ascontiguousarray(weight, np.float32).reshape(-1, BLOCK)
    blocks = np.empty((len(groups), size), np.uint8)
    step = _PART // BLOCK
    for start in range(0, len(groups), step):
        quantize(groups[start : start + step], blocks[start : start + step])
    return blocks


def _rounded(groups: Float32Array, factor: Float32Array) -> Float32Array:
    """Whole numbers next to groups * factor; the factor is 0 where a group's scale is."""
    scaled = groups * factor
    scaled += _MAGIC
    scaled -= _MAGIC
    return scaled


def _inverse(scale: Float32Array) -> Float32Array:
    with np.errstate(divide="ignore"):
        return np.where(scale == 0, np.float32(0), np.float32(1) / scale)


def _q8_0(groups: Float32Array, out: Bytes) -> None:
    largest = np.maximum(groups.max(axis=1), -groups.min(axis=1))
    scale = largest / np.float32(127)
    out[:, :2] = scale.astype(np.float16)[:, None].view(np.uint8)
    out[:, 2:] = _rounded(groups, _inverse(scale)[:, None]).astype(np.int8).view(np.uint8)


def _q4_0(groups: Float32Array, out: Bytes) -> None:
    high, low = groups.max(axis=1), groups.min(axis=1)
    # The value of the largest magnitude becomes -8, whatever its sign.
    scale = np.where(high > -low, high, low) / np.float32(-8)
    out[:, :2] = scale.astype(np.float16)[:, None].view(np.uint8)
    levels = _rounded(groups, _inverse(scale)[:, None])
    levels += np.float32(8)
    np.minimum(levels, np.float32(15), out=levels)
    nibbles = levels.astype(np.uint8)
    out[:, 2:] = nibbles[:, :16] | (nibbles[:, 16:] << 4)
