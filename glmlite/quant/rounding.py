"""Scales of groups of values: round to nearest, or searched for the smallest squared error.

A group becomes `(q - zero_point) · scale` with whole q. Round to nearest stretches the scale over
the whole range; that wastes steps on the largest value. The search clips the range in several ways,
fits the scale to what each way rounds to by least squares (for fixed q the best scale is
Σ w x q / Σ w q²), and takes the one that leaves the smallest error. It never does worse than round
to nearest, which is one of the ways.

Everything works on [groups, n] in float32, scaled to a largest value of 1 first, so that no square
overflows.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]

# How far the largest value is pushed beyond the last step; 1 would be round to nearest.
_CLIPPINGS = (0.94, 1.06, 1.13, 1.25, 1.4)
_FINE_CLIPPINGS = (1.01, 1.03, 1.06, 1.1)


@dataclasses.dataclass(frozen=True)
class Rounded:
    """What groups became.

    Attributes:
        values: float32 [groups, n], whole numbers: q - zero_point.
        scale: float32 [groups]; not 0, below 0 where a symmetric range was turned round.
        zero_point: float32 [groups], whole numbers; 0 of symmetric groups.
    """

    values: Float32Array
    scale: Float32Array
    zero_point: Float32Array


def round_symmetric(
    groups: Float32Array,
    lowest: int,
    highest: int,
    weights: Float32Array | None = None,
    *,
    search: bool = False,
) -> Rounded:
    """Groups around zero.

    Args:
        groups: [groups, n], finite.
        lowest: smallest integer; if it is farther from 0 than `highest`, the value that is
            farthest from 0 gets it, whichever its sign.
        highest: largest integer.
        weights: [groups, n] or [n], ≥ 0: how much each value's error counts; None: all alike.
        search: for the smallest squared error.
    """
    unit, size = _normalize(groups)
    rows = np.arange(len(unit))
    extreme = unit[rows, np.abs(unit).argmax(axis=1)]
    extreme[extreme == 0] = 1
    full = np.float32(lowest) if -lowest > highest else np.float32(highest)
    steps = full / extreme  # steps a unit
    values = _round(unit, steps, lowest, highest)
    scale = (1 / steps).astype(np.float32)
    if search:
        candidates = [steps * np.float32(way) for way in _clippings(highest)]
        values, scale = _refine(unit, values, scale, candidates, weights, lowest, highest)
    return _finish(values, scale, size, np.zeros(len(unit), np.float32))


def round_affine(
    groups: Float32Array,
    bits: int,
    weights: Float32Array | None = None,
    *,
    search: bool = False,
) -> Rounded:
    """Groups between their smallest and largest value, 0 included; q is 0 … 2^bits - 1.

    Args:
        groups: [groups, n], finite.
        bits: 4 or 8.
        weights: see `round_symmetric`.
        search: see there.
    """
    unit, size = _normalize(groups)
    highest = (1 << bits) - 1
    low, high = np.minimum(unit.min(axis=1), 0), np.maximum(unit.max(axis=1), 0)
    span = high - low
    span[span == 0] = 1
    zero: Float32Array = np.clip(np.rint(-low * (highest / span)), 0, highest).astype(np.float32)
    bounds = (-zero[:, None], (highest - zero)[:, None])
    steps = (highest / span).astype(np.float32)
    values = _round(unit, steps, *bounds)
    scale = (1 / steps).astype(np.float32)
    if search:
        best = _error(unit, values, scale, weights)
        for way in (1.0, *_clippings(highest // 2)):
            clipped = _round(unit, steps * np.float32(way), *bounds)
            fitted = _fit(unit, clipped, scale, weights)
            _round(unit, np.reciprocal(fitted), *bounds, out=clipped)
            fitted = _fit(unit, clipped, fitted, weights)
            error = _error(unit, clipped, fitted, weights)
            better = error < best
            values[better], scale[better] = clipped[better], fitted[better]
            best[better] = error[better]
    return _finish(values, scale, size, zero)


def _clippings(highest: int) -> tuple[float, ...]:
    """Few steps gain much from clipping, many little."""
    return _CLIPPINGS if highest < 16 else _FINE_CLIPPINGS


def _normalize(groups: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Groups with a largest absolute value of 1, and what they were divided by, [groups].

    A range so small that float32 cannot tell its steps apart is noise, and becomes 0.
    """
    size = np.maximum(groups.max(axis=1), -groups.min(axis=1))
    empty = size < np.finfo(np.float32).tiny * np.float32(1024)
    unit = groups / np.where(empty, np.float32(1), size)[:, None]
    unit[empty] = 0
    return unit, np.where(empty, np.float32(1), size)


def _finish(
    values: Float32Array, scale: Float32Array, size: Float32Array, zero_point: Float32Array
) -> Rounded:
    return Rounded(values, (scale * size).astype(np.float32), zero_point)


def _round(
    unit: Float32Array,
    steps: Float32Array,
    lowest: int | Float32Array,
    highest: int | Float32Array,
    out: Float32Array | None = None,
) -> Float32Array:
    """Whole numbers [groups, n] nearest to unit · steps."""
    out = np.multiply(unit, steps[:, None], out=out)
    np.rint(out, out=out)
    np.clip(out, lowest, highest, out=out)
    return out


def _sums(
    unit: Float32Array, values: Float32Array, weights: Float32Array | None
) -> tuple[Float32Array, Float32Array]:
    """Σ w x q and Σ w q² of each group."""
    weighted = values if weights is None else values * weights
    return np.einsum("gn,gn->g", weighted, unit), np.einsum("gn,gn->g", weighted, values)


def _fit(
    unit: Float32Array, values: Float32Array, scale: Float32Array, weights: Float32Array | None
) -> Float32Array:
    """The scale of least squares; `scale` where there is none."""
    product, square = _sums(unit, values, weights)
    usable = (square > 0) & (product != 0)
    fitted = np.divide(product, square, out=scale.copy(), where=usable)
    return np.where(np.abs(fitted) > np.float32(1e-6), fitted, scale)


def _error(
    unit: Float32Array, values: Float32Array, scale: Float32Array, weights: Float32Array | None
) -> Float32Array:
    """Σ w (x - q · scale)² of each group."""
    rest = values * scale[:, None]
    rest -= unit
    if weights is None:
        error: Float32Array = np.einsum("gn,gn->g", rest, rest)
    else:
        error = np.einsum("gn,gn->g", rest * weights, rest)
    return error


def _refine(
    unit: Float32Array,
    plain: Float32Array,
    plain_scale: Float32Array,
    candidates: list[Float32Array],
    weights: Float32Array | None,
    lowest: int,
    highest: int,
) -> tuple[Float32Array, Float32Array]:
    """Values and scales with the smallest error; those of round to nearest where nothing is better.

    Of a candidate's q the error with its best scale is Σ w x² - (Σ w x q)² / Σ w q², so the largest
    quotient wins.
    """
    product, square = _sums(unit, plain, weights)
    best = np.divide(product * product, square, out=np.zeros_like(square), where=square > 0)
    scale = _fit(unit, plain, plain_scale, weights)
    buffer = np.empty_like(unit)
    for steps in candidates:
        _round(unit, steps, lowest, highest, buffer)
        product, square = _sums(unit, buffer, weights)
        gain = np.divide(product * product, square, out=np.zeros_like(square), where=square > 0)
        better = (gain > best) & (product != 0)
        best[better] = gain[better]
        np.divide(product, square, out=scale, where=better)
    for _ in range(2):
        _round(unit, np.reciprocal(scale), lowest, highest, buffer)
        scale = _fit(unit, buffer, scale, weights)
    before = _error(unit, plain, plain_scale, weights)
    worse = ~(_error(unit, buffer, scale, weights) < before)
    buffer[worse] = plain[worse]
    return buffer, np.where(worse, plain_scale, scale)
