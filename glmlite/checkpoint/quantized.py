"""The official ChatGLM2 int4 and int8 checkpoints: integers and one scale per row.

A quantized matrix `X.weight` [rows, columns] lies there as int8 with `X.weight_scale` [rows]:
weight = integer × scale. For int4, byte j of a row holds column 2j in its upper and 2j+1 in its
lower four bits, both signed. Embedding, output layer and norms stay float16.

Source: facts of the official quantization.py of ChatGLM-6B and ChatGLM2-6B and of its kernels
(int4WeightCompression, int4WeightExtraction).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from glmlite.checkpoint.tensor_file import FLOAT_NAMES, TensorEntry
from glmlite.errors import CheckpointError

Bits = Literal[4, 8]
SCALE = "_scale"
_QKV = "self_attention.query_key_value.weight"
_NORM = "input_layernorm.weight"


def find_quantized(entries: Mapping[str, TensorEntry]) -> frozenset[str]:
    """Names of the matrices that are stored as integers with a scale per row."""
    return frozenset(name for name in entries if _is_quantized(name, entries))


def _is_quantized(name: str, entries: Mapping[str, TensorEntry]) -> bool:
    weight, scale = entries[name], entries.get(name + SCALE)
    return (
        scale is not None
        and weight.dtype == "I8"
        and len(weight.shape) == 2
        and scale.dtype in FLOAT_NAMES
        and scale.shape == weight.shape[:1]
    )


def find_bits(
    entries: Mapping[str, TensorEntry], raw_config: Mapping[str, Any] | None, label: str
) -> Bits:
    """Whether the integers have 4 or 8 bits.

    The layers themselves tell: a norm is as long as a row of `query_key_value` has columns. What
    config.json says (`quantization_bit`) must agree.

    Args:
        entries: all tensors; at least one is quantized.
        raw_config: the parsed config.json, or None.
        label: how messages call the checkpoint.

    Raises:
        CheckpointError: it cannot be told, or the two contradict each other.
    """
    found: set[int] = set()
    for name, entry in entries.items():
        norm = entries.get(name.replace(_QKV, _NORM))
        if name.endswith(_QKV) and _is_quantized(name, entries) and norm is not None:
            packed, hidden = entry.shape[1], norm.shape[0]
            found.add(8 if packed == hidden else 4 if 2 * packed == hidden else 0)
    told = (raw_config or {}).get("quantization_bit")
    if told in (4, 8):
        found.add(told)
    if found == {4}:
        return 4
    if found == {8}:
        return 8
    raise CheckpointError(
        "{path} is quantized, but it cannot be told whether to 4 or to 8 bits.",
        hint="Put the config.json that belongs to these weights beside them; its quantization_bit "
        "must fit the shapes.",
        path=label,
    )


def full_shape(entry: TensorEntry, bits: Bits) -> tuple[int, ...]:
    """The shape of a quantized matrix once it is unpacked."""
    rows, packed = entry.shape
    return rows, packed * 8 // bits


def dequantize(packed: NDArray[np.int8], scale: NDArray[Any], bits: Bits) -> NDArray[np.float32]:
    """The matrix: integers × scale of their row.

    Args:
        packed: int8 [rows, columns · bits / 8].
        scale: float16 or float32 [rows].
        bits: of each integer.

    Returns:
        float32 [rows, columns]; of a float16 scale every product is exact.
    """
    if bits == 8:
        return packed.astype(np.float32) * scale.astype(np.float32)[:, None]
    result = np.empty((packed.shape[0], 2 * packed.shape[1]), np.float32)
    result[:, 0::2] = packed >> 4  # of signed numbers, so that the sign stays
    result[:, 1::2] = np.left_shift(packed, 4) >> 4
    result *= scale.astype(np.float32)[:, None]
    return result
