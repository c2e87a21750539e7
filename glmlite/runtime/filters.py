"""Which tokens may be drawn, and the draw: pure functions on one row.

Of equal values the one with the lower index comes first, so how many tokens remain never depends on
ties. Weights are unnormalized probabilities, float32 [N], finite and not negative, at least one
above 0. Nothing here sorts the vocabulary.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from glmlite.runtime.engines.base import Float32Array
from glmlite.runtime.ranges import check_integer, check_number

Indices = NDArray[np.intp]

_BLOCK = 256
_SMALL_BLOCK = 64


def top_k_indices(logits: Float32Array, top_k: int) -> Indices:
    """Indices of the `top_k` largest logits, ascending (Fan et al. 2018, arXiv:1805.04833)."""
    check_integer("top_k", top_k, 1)
    if top_k >= logits.size:
        return np.arange(logits.size, dtype=np.intp)
    # The k-th largest of the blocks' maxima: at least k logits reach it, mostly not many more.
    maxima = np.maximum.reduceat(logits, np.arange(0, logits.size, _SMALL_BLOCK))
    bound = np.partition(maxima if maxima.size >= top_k else logits, -top_k)[-top_k]
    above = np.flatnonzero(logits > bound)
    if above.size > top_k:
        values = logits[above]
        bound = np.partition(values, -top_k)[-top_k]
        above = above[values > bound]
    tied = np.flatnonzero(logits == bound)[: top_k - above.size]
    return np.sort(np.concatenate([above, tied]))


def softmax_weights(logits: Float32Array, temperature: float) -> Float32Array:
    """exp((logits - max) / temperature), in place: the largest weight is 1.

    The maximum is subtracted before the division, so no temperature above 0 overflows.
    """
    check_number("temperature", temperature, "(0, inf)")
    logits -= logits.max()
    if temperature != 1.0:
        with np.errstate(over="ignore"):  # towards -inf, whose weight is the right one: 0
            logits /= np.float32(max(temperature, np.finfo(np.float32).tiny))
    return cast(Float32Array, np.exp(logits, out=logits))


def apply_min_p(weights: Float32Array, min_p: float) -> None:
    """Set weights below `min_p` times the largest to 0 (Nguyen et al. 2024, arXiv:2407.01082)."""
    check_number("min_p", min_p, "(0, 1]")
    weights *= weights >= np.float32(min_p) * weights.max()


def draw(weights: Float32Array, generator: np.random.Generator) -> int:
    """One index, with probability proportional to its weight; weight 0 is never drawn.

    First a block of the row, then a place in the block: a running sum over the whole row would
    cost several times as much.
    """
    starts = np.arange(0, weights.size, _BLOCK)
    start = int(starts[_invert(np.add.reduceat(weights, starts), generator)])
    return start + _invert(weights[start : start + _BLOCK], generator)


def draw_top_p(weights: Float32Array, top_p: float, generator: np.random.Generator) -> int:
    """One index of the nucleus, with probability proportional to its weight.

    The nucleus is the smallest set of largest weights whose share of the sum reaches `top_p`
    (Holtzman et al. 2020, arXiv:1904.09751). It is never built: an index is drawn from a superset
    and accepted if the weights before it do not reach the share yet; if they do, it and all after
    it leave the superset. Accepted draws follow the nucleus' distribution exactly, after 1 - ln
    `top_p` rounds on average (FlashInfer's sorting-free sampling, arXiv:2501.01005).
    """
    check_number("top_p", top_p, "(0, 1]")
    total = float(weights.sum())
    target = top_p * total
    ids = None
    # All weights below this together are less than 1 - top_p: none of them is in the nucleus.
    likely = weights > 0.5 * (1.0 - top_p) * total / weights.size
    if np.count_nonzero(likely) < weights.size // 2:
        ids = np.flatnonzero(likely)
        weights = weights[ids]
    while True:
        index = draw(weights, generator)
        before = weights > weights[index]
        before[:index] |= weights[:index] == weights[index]
        mass = float((weights * before).sum())
        if mass == 0.0 or mass < target:
            return index if ids is None else int(ids[index])
        kept = np.flatnonzero(before)
        weights = weights[kept]
        ids = kept if ids is None else ids[kept]


def _invert(weights: Float32Array, generator: np.random.Generator) -> int:
    """Inverse transform sampling: the place where the running sum passes a uniform number."""
    reached = np.cumsum(weights, dtype=np.float64)
    point = min(generator.random() * reached[-1], np.nextafter(reached[-1], 0.0))
    return int(np.searchsorted(reached, point, side="right"))
