"""What quantization did to one matrix, and what comes in and out of it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from glmlite.quant.activations import FLOAT, Rounding
from glmlite.quant.calibration import ActivationStats

Float32Array = NDArray[np.float32]

# Tokens whose products are compared; values of a matrix that are worked on at a time.
SAMPLED = 128
_BLOCK = 1 << 22


@dataclasses.dataclass(frozen=True)
class TensorReport:
    """One matrix, before and after.

    Attributes:
        name: Hugging Face name. shape: [out, in].
        scheme: how it is stored now, in words; "" where nobody said.
        rounding: what is done to its input; see `activations.Rounding`.
        weight_error: ‖quantized - float‖ / ‖float‖.
        output_error: the same of its products with its inputs, mean over some tokens.
        weight_min: of the float matrix. weight_max: the same.
        input_min: of what enters it. input_max: the same.
        outlier: the largest channel's absolute maximum over the median channel's, of its inputs.
    """

    name: str
    shape: tuple[int, int]
    scheme: str
    rounding: str
    weight_error: float
    output_error: float
    weight_min: float
    weight_max: float
    input_min: float
    input_max: float
    outlier: float

    @property
    def is_quantized(self) -> bool:
        """Whether its products are others than before."""
        return self.weight_error > 0 or self.output_error > 0


@dataclasses.dataclass(frozen=True)
class MatrixInput:
    """What entered a matrix of the float network: rows [SAMPLED, in], and statistics of all."""

    rows: Float32Array
    stats: ActivationStats

    @property
    def outlier(self) -> float:
        """See `TensorReport.outlier`; 0 where most channels are always 0."""
        median = float(np.median(self.stats.absmax))
        return float(self.stats.absmax.max()) / median if median else 0.0


def row_errors(before: Float32Array, after: Float32Array) -> NDArray[np.float64]:
    """‖after - before‖ / ‖before‖ of each row; 0 for rows that are equal.

    Args:
        before: float32 [n, width].
        after: the same shape.
    """
    norms = np.linalg.norm(before.astype(np.float64), axis=1)
    differences = np.linalg.norm(after.astype(np.float64) - before, axis=1)
    errors: NDArray[np.float64] = differences / np.maximum(norms, np.finfo(np.float32).tiny)
    return errors


def weight_error(before: Float32Array, after: Float32Array) -> float:
    """‖after - before‖ / ‖before‖ (Frobenius) of two matrices; sums in float64."""
    total = difference = 0.0
    rows = max(1, _BLOCK // before.shape[1])
    for start in range(0, len(before), rows):
        a, b = before[start : start + rows], after[start : start + rows]
        change = (b - a).ravel()
        total += float(np.vdot(a, a))
        difference += float(np.vdot(change, change))
    return math.sqrt(difference / max(total, float(np.finfo(np.float32).tiny)))


@dataclasses.dataclass(frozen=True)
class Smoothing:
    """How a matrix was scaled so that its input, or that of the next one, is easier to round.

    Attributes:
        columns: [in], factors of its columns; its input is divided by them. None for none.
        rows: [out], by what its rows were divided, None for none.
    """

    columns: Float32Array | None = None
    rows: Float32Array | None = None

    def undo(self, weight: Float32Array) -> Float32Array:
        """The matrix as it was; float32 [out, in]."""
        if self.columns is not None:
            weight = weight / self.columns
        if self.rows is not None:
            weight = weight * self.rows[:, None]
        return weight


_NO_SMOOTHING = Smoothing()


def compare_matrices(
    before: Float32Array,
    after: Float32Array,
    entered: MatrixInput,
    *,
    name: str,
    scheme: str = "",
    rounding: Rounding | None = None,
    smoothing: Smoothing = _NO_SMOOTHING,
) -> TensorReport:
    """Describe what became of a matrix.

    Args:
        before: float32 [out, in].
        after: the quantized one, dequantized, smoothing not undone.
        entered: what is multiplied with it in the float network.
        name: Hugging Face name.
        scheme: how it is stored, in words.
        rounding: of its input.
        smoothing: that it went through.
    """
    expected = entered.rows @ before.T
    x = entered.rows if smoothing.columns is None else entered.rows / smoothing.columns
    found = (rounding.apply(x) if rounding else x) @ after.T
    if smoothing.rows is not None:
        found *= smoothing.rows
    return TensorReport(
        name=name,
        shape=(before.shape[0], before.shape[1]),
        scheme=scheme,
        rounding=str(rounding or FLOAT),
        weight_error=weight_error(before, smoothing.undo(after)),
        output_error=float(row_errors(expected, found).mean()),
        weight_min=float(before.min()),
        weight_max=float(before.max()),
        input_min=entered.stats.minimum,
        input_max=entered.stats.maximum,
        outlier=entered.outlier,
    )
