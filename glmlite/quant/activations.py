"""What engines do to activations in front of quantized weights, in NumPy.

Source: `glmlite.exporter.onnx_graph.quantized` for tokens in uint8; ONNX Runtime's `MatMulNBits`
with accuracy level 4 for int8 in blocks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmlite.model.layer import Observer

Float32Array = NDArray[np.float32]
FLOAT = "float32"
TOKEN, BLOCK = "int8 per token", "int8 per block of"


def round_tokens(x: Float32Array) -> Float32Array:
    """Each row rounded to 255 steps, symmetric, with a scale of its own: absmax / 127.

    Args:
        x: float32 [tokens, in].

    Returns:
        The values that the integers stand for, the same shape.
    """
    size = np.maximum(x.max(axis=1, keepdims=True), -x.min(axis=1, keepdims=True))
    scale = np.maximum(size, np.float32(1e-30)) * np.float32(1 / 127)
    rounded: Float32Array = np.rint(x / scale)
    rounded *= scale
    return rounded


def round_blocks(x: Float32Array, block_size: int) -> Float32Array:
    """Each block of a row rounded to 255 steps, symmetric: scale = absmax / 127.

    Args:
        x: float32 [tokens, in].
        block_size: values a block; the last one of a row may be shorter.

    Returns:
        The values that the integers stand for, the same shape.
    """
    tokens, width = x.shape
    blocks = -(-width // block_size)
    padded = np.zeros((tokens, blocks * block_size), np.float32)
    padded[:, :width] = x
    grouped = padded.reshape(tokens, blocks, block_size)
    scale = np.abs(grouped).max(axis=2, keepdims=True) / np.float32(127)
    scale[scale == 0] = 1
    np.rint(grouped / scale, out=grouped)
    grouped *= scale
    rounded: Float32Array = padded[:, :width]
    return rounded


@dataclasses.dataclass(frozen=True)
class Rounding:
    """How the input of one matrix is rounded.

    Attributes:
        block_size: values that share a scale; None: all of a token.
        outliers: channels that stay float32 and take no part in a token's scale.
    """

    block_size: int | None = None
    outliers: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{BLOCK} {self.block_size}" if self.block_size else TOKEN

    def apply(self, x: Float32Array) -> Float32Array:
        """What the rounded input stands for; float32 [tokens, in], like `x`."""
        if self.block_size:
            return round_blocks(x, self.block_size)
        if not self.outliers:
            return round_tokens(x)
        kept = list(self.outliers)
        rest = x.copy()
        rest[:, kept] = 0
        rounded = round_tokens(rest)
        rounded[:, kept] = x[:, kept]
        return rounded


def rounding_of(quantized: Mapping[str, Mapping[str, Any]]) -> dict[str, Rounding]:
    """What engine `onnx` does to the inputs of quantized matrices; to others it does nothing.

    Args:
        quantized: of a `WeightsIndex`: matrix name -> how it is stored.
    """
    found = {}
    for name, form in quantized.items():
        if form["scheme"] == "column":
            found[name] = Rounding(outliers=tuple(form.get("outliers", ())))
        elif form["scheme"] == "block" and form.get("accuracy_level", 4) == 4:
            found[name] = Rounding(form["block_size"])
    return found


def rounder(rounding: Mapping[str, Rounding]) -> Observer:
    """An observer that rounds the inputs of the named matrices."""

    def observe(name: str, x: Float32Array) -> Float32Array | None:
        rule = rounding.get(name)
        return rule.apply(x) if rule else None

    return observe


def in_words(rounding: Mapping[str, Rounding]) -> str:
    """For the manifest: each rule that occurs, "float32" where there is none."""
    return ", ".join(sorted({str(rule) for rule in rounding.values()})) or FLOAT
