"""Quantized matrices in the forms that the weights file stores (`glmlite.toolchain.quantized`)."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from glmlite.quant.chunks import over_rows, row_chunks
from glmlite.quant.rounding import round_affine, round_symmetric
from glmlite.toolchain.quantized import (
    BLOCK_SIZES,
    COLUMN,
    OUTLIER,
    PACKED,
    ROWS,
    SCALE,
    ZERO_POINT,
    block_count,
    zero_point_bytes,
)

Float32Array = NDArray[np.float32]
Method = Literal["round", "mse", "activation_aware"]
METHODS = ("round", "mse", "activation_aware")


@dataclasses.dataclass(frozen=True)
class Stored:
    """One quantized matrix.

    Attributes:
        form: its entry in the index: "scheme", "bits", "shape", ….
        tensors: suffix -> array, e.g. ".packed".
    """

    form: dict[str, Any]
    tensors: dict[str, NDArray[Any]]


def store_blocks(
    weight: NDArray[Any],
    bits: int,
    block_size: int,
    *,
    symmetric: bool = True,
    method: Method = "round",
    importance: Float32Array | None = None,
    smoothing: Float32Array | None = None,
    name: str = "-",
) -> Stored:
    """Blocks of a row with a scale each, as ONNX Runtime's MatMulNBits reads them.

    Args:
        weight: float [out, in].
        bits: 4 or 8.
        block_size: 16, 32, 64, 128 or 256; the last block of a row is filled up with zeros.
        symmetric: a zero point of 2^(bits - 1) for all, instead of one a block.
        method: "mse" searches the scales; "activation_aware" weighs the errors by `importance`.
        importance: [in], mean squares of what each column is multiplied with.
        smoothing: [in], factors of the columns, applied before.
        name: for messages.

    Raises:
        CheckpointError: the weight holds NaN, infinity, or what overflows.
    """
    if block_size not in BLOCK_SIZES or bits not in (4, 8):
        raise ValueError(f"{bits} bits in blocks of {block_size}")
    out, columns = weight.shape
    blocks = block_count(columns, block_size)
    packed = np.empty((out, blocks, block_size * bits // 8), np.uint8)
    scale = np.empty((out, blocks), np.float32)
    zeros = np.zeros((out, zero_point_bytes(blocks, bits)), np.uint8)
    middle = 1 << (bits - 1)
    weights = _weights(importance, method, (blocks, block_size))

    def work(rows: slice, part: Float32Array) -> None:
        groups = _padded(part, blocks * block_size).reshape(-1, block_size)
        own = None if weights is None else np.tile(weights, (len(part), 1))
        if symmetric:
            found = round_symmetric(groups, -middle, middle - 1, own, search=method != "round")
            values = found.values + np.float32(middle)
        else:
            found = round_affine(groups, bits, own, search=method != "round")
            values = found.values + found.zero_point[:, None]
            zeros[rows] = pack(found.zero_point.reshape(len(part), blocks), bits)
        packed[rows] = pack(values.reshape(len(part), blocks, block_size), bits)
        scale[rows] = found.scale.reshape(len(part), blocks)

    over_rows(weight, smoothing, name, work)
    form = {
        "scheme": "block",
        "bits": bits,
        "block_size": block_size,
        "symmetric": symmetric,
        "shape": [out, columns],
    }
    tensors: dict[str, NDArray[Any]] = {PACKED: packed, SCALE: scale}
    if not symmetric:
        tensors[ZERO_POINT] = zeros
    return Stored(form, tensors)


def store_columns(
    weight: NDArray[Any],
    bits: int = 7,
    *,
    method: Method = "round",
    importance: Float32Array | None = None,
    smoothing: Float32Array | None = None,
    outliers: list[int] | None = None,
    name: str = "-",
) -> Stored:
    """One scale an output, transposed, for integer products with activations.

    Args:
        weight: float [out, in].
        bits: 7 (int8, -64 … 64: right on every CPU) or 8 (uint8 around 128).
        method: see `store_blocks`.
        importance: [in], see there.
        smoothing: [in], see there.
        outliers: columns that stay float32, ascending.
        name: for messages.

    Raises:
        CheckpointError: the weight holds NaN, infinity, or what overflows.
    """
    if bits not in (7, 8):
        raise ValueError(f"{bits} bits for a whole column")
    out, columns = weight.shape
    integers = np.empty((columns, out), np.int8 if bits == 7 else np.uint8)
    scale = np.empty(out, np.float32)
    kept = np.empty((len(outliers or []), out), np.float32)
    highest = 64 if bits == 7 else 127
    weights = _weights(importance, method, (columns,))

    def work(rows: slice, part: Float32Array) -> None:
        if outliers:
            kept[:, rows] = part[:, outliers].T
            part[:, outliers] = 0
        found = round_symmetric(part, -highest, highest, weights, search=method != "round")
        integers[:, rows] = (found.values + np.float32(0 if bits == 7 else 128)).T
        scale[rows] = found.scale

    over_rows(weight, smoothing, name, work)
    form: dict[str, Any] = {"scheme": "column", "bits": bits, "shape": [out, columns]}
    tensors: dict[str, NDArray[Any]] = {COLUMN: integers, SCALE: scale}
    if outliers:
        form["outliers"] = outliers
        tensors[OUTLIER] = kept
    return Stored(form, tensors)


def store_rows(weight: NDArray[Any], *, method: Method = "round", name: str = "-") -> Stored:
    """An embedding table as int8 with a scale a row.

    Args:
        weight: float [V, hidden].
        method: "round", or anything else to search the scales.
        name: for messages.

    Raises:
        CheckpointError: the weight holds NaN, infinity, or what overflows.
    """
    values = np.empty(weight.shape, np.int8)
    scale = np.empty(len(weight), np.float32)

    def work(rows: slice, part: Float32Array) -> None:
        found = round_symmetric(part, -127, 127, search=method != "round")
        values[rows] = found.values
        scale[rows] = found.scale

    over_rows(weight, None, name, work)
    form = {"scheme": "row", "bits": 8, "shape": list(weight.shape)}
    return Stored(form, {ROWS: values, SCALE: scale})


def read_stored(form: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Float32Array:
    """The matrix that a quantized one stands for, float32 [out, in]; smoothing is not undone.

    Args:
        form: entry of the index.
        tensors: suffix -> array.
    """
    out, columns = form["shape"]
    scale = tensors[SCALE]
    real = np.empty((out, columns), np.float32)
    if form["scheme"] == "row":
        np.multiply(tensors[ROWS], scale[:, None], out=real)
    elif form["scheme"] == "column":
        middle = np.float32(0 if form["bits"] == 7 else 128)
        for rows in row_chunks(out, columns):
            np.subtract(tensors[COLUMN][:, rows].T, middle, out=real[rows], dtype=np.float32)
        real *= scale[:, None]
        if form.get("outliers"):
            real[:, form["outliers"]] = tensors[OUTLIER].T
    else:
        bits, size = form["bits"], form["block_size"]
        blocks = scale.shape[1]
        for rows in row_chunks(out, columns):
            values = unpack(tensors[PACKED][rows], bits).astype(np.float32)
            if form["symmetric"]:
                values -= np.float32(1 << (bits - 1))
            else:
                zeros = unpack(tensors[ZERO_POINT][rows], bits)[:, :blocks]
                values -= zeros.astype(np.float32)[..., None]
            values *= scale[rows, :, None]
            real[rows] = values.reshape(len(values), blocks * size)[:, :columns]
    return real


def pack(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Whole numbers 0 … 2^bits - 1 as bytes, along the last axis; of 4 bits the first is lower."""
    whole: NDArray[np.uint8] = values.astype(np.uint8)
    if bits == 8:
        return whole
    packed: NDArray[np.uint8] = whole[..., 0::2].copy()
    odd = whole[..., 1::2]
    packed[..., : odd.shape[-1]] |= np.left_shift(odd, 4)
    return packed


def unpack(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """The inverse of `pack`; an odd number of 4-bit values comes back with a 0 behind it."""
    if bits == 8:
        return packed
    values = np.empty((*packed.shape[:-1], 2 * packed.shape[-1]), np.uint8)
    np.bitwise_and(packed, 15, out=values[..., 0::2])
    np.right_shift(packed, 4, out=values[..., 1::2])
    return values


def _padded(part: Float32Array, width: int) -> Float32Array:
    if part.shape[1] == width:
        return part
    result = np.zeros((len(part), width), np.float32)
    result[:, : part.shape[1]] = part
    return result


def _weights(
    importance: Float32Array | None, method: Method, shape: tuple[int, ...]
) -> Float32Array | None:
    """Importance as [blocks, block_size] or [in], 1 on average; what is filled up counts nothing.

    Columns that the text never used still count a thousandth of the others.
    """
    if importance is None or method != "activation_aware":
        return None
    mean = float(importance.mean(dtype=np.float64))
    if not mean > 0:
        return None
    result = np.zeros(shape, np.float32)
    result.reshape(-1)[: len(importance)] = importance / np.float32(mean) + np.float32(1e-3)
    return result
