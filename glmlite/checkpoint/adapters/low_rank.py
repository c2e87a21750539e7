"""ΔW = scale · B · A: one low-rank term of one matrix, and how it is added without a second copy.

Source: Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmlite.checkpoint.source import Shape, WeightSource
from glmlite.errors import CheckpointError

_ROWS = 512  # rows of the product that exist at once, in float64


@dataclasses.dataclass(frozen=True)
class LowRankTerm:
    """One pair of factors and what they add to.

    Attributes:
        source: the tensors of the adapter.
        target: Hugging Face name of the matrix [out, in].
        a, b: names of A [r, in] and B [out, r]; of an embedding A [r, rows] and B [columns, r].
        rank: r. alpha: as it counted.
        scale: alpha / r (or alpha / √r), times the adapter's weight.
        transposed: whether the matrix is an embedding, ΔW = scale · (B · A)ᵀ.
    """

    source: WeightSource
    target: str
    a: str
    b: str
    rank: int
    alpha: float
    scale: float
    transposed: bool = False

    def factors(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """[out, r] and [r, in] whose product, scaled, is ΔW."""
        a = self.source.read(self.a).astype(np.float64)
        b = self.source.read(self.b).astype(np.float64) * self.scale
        return (a.T, b.T) if self.transposed else (b, a)


def check_factors(
    target: str, needed: Shape, a: tuple[str, Shape], b: tuple[str, Shape], transposed: bool
) -> int:
    """The rank of a pair of factors, once their shapes fit `needed`, that of the matrix.

    Raises:
        CheckpointError: names the tensor that does not fit, and both shapes.
    """
    if len(needed) != 2:
        raise CheckpointError(
            "{name} adds to {target}, which is no matrix.", name=a[0], target=target
        )
    rank = a[1][0] if a[1] else 0
    inner, outer = (needed[0], needed[1]) if transposed else (needed[1], needed[0])
    for (name, shape), wanted in ((a, (rank, inner)), (b, (outer, rank))):
        if shape != wanted:
            raise CheckpointError(
                "{name} is {found}; to fit {target} {shape} it must be {wanted}.",
                hint="The adapter was trained for a model of another size, or its two halves are "
                "of different ranks.",
                name=name,
                found=list(shape),
                target=target,
                shape=list(needed),
                wanted=list(wanted),
            )
    return rank


def add_terms(matrix: NDArray[Any], terms: Sequence[LowRankTerm]) -> NDArray[np.float32]:
    """W + Σ scale · B · A, summed in float64 and rounded to float32 once.

    Args:
        matrix: W [out, in], float32 or float16; a float32 one is overwritten.
        terms: what to add; the factors are read here.

    Raises:
        CheckpointError: the sum is not finite; names the tensor.
    """
    merged: NDArray[np.float32] = matrix.astype(np.float32, copy=False)
    factors = [term.factors() for term in terms]
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(merged), _ROWS):
            rows = slice(start, start + _ROWS)
            total = merged[rows].astype(np.float64)
            for left, right in factors:
                total += left[rows] @ right
            merged[rows] = total
            if not np.isfinite(merged[rows]).all():
                raise CheckpointError(
                    "{name} holds NaN or infinite values once the adapter is added to it.",
                    hint="Lower the adapter's weight or alpha, or use an earlier checkpoint of it.",
                    name=terms[0].target,
                )
    return merged
