"""Work on a matrix a few hundred thousand values at a time, on several threads.

So a 6B model needs little memory beside the matrix itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmlite.errors import CheckpointError
from glmlite.quant.overflow import check_weight, largest_of

Float32Array = NDArray[np.float32]

# Values at a time: what a core's cache holds, several times over.
_CHUNK = 1 << 17
# Of a weight within `LARGEST_WEIGHT` that smoothing and its other half multiplied; what is stored
# of it, and the squares of that, are finite.
_LARGEST_SCALED = 1e18


def row_chunks(rows: int, columns: int) -> Iterator[slice]:
    """Slices of rows that together are all of them."""
    step = max(1, _CHUNK // columns)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def over_rows(
    weight: NDArray[Any],
    smoothing: Float32Array | None,
    name: str,
    work: Callable[[slice, Float32Array], None],
) -> None:
    """Call `work` with slices of rows and their values in float32, which it may change.

    Args:
        weight: float [out, in].
        smoothing: [in], factors of the columns, applied before; None for none.
        name: for messages.
        work: called from several threads.

    Raises:
        CheckpointError: the weight holds NaN, infinity, or what overflows.
    """

    def run(rows: slice) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            part = weight[rows].astype(np.float32)  # a copy, always
            if smoothing is not None:
                part *= smoothing
        largest = largest_of(part)
        if not largest <= _LARGEST_SCALED:
            check_weight(name, weight[rows])
            raise CheckpointError(
                "Tensor {name} overflows as its columns are smoothed: it reaches {largest:.3g}.",
                hint="Leave it as it is: `keep: float32` in a copy of the recipe.",
                name=name,
                largest=largest,
            )
        work(rows, part)

    chunks = list(row_chunks(*weight.shape))
    with ThreadPoolExecutor(min(len(chunks), os.cpu_count() or 1, 8)) as pool:
        for _ in pool.map(run, chunks):
            pass
