"""Factors that make a matrix, or what enters it, easier to round.

The columns of a matrix are multiplied by s and what enters them divided by it, which changes
nothing but what rounding costs. The division is folded into what comes before: the weight of the
norm, or of the MLP's second matrix the rows of the first that make the factor behind the gate. What
enters the attention's output projection comes out of the cache, so that stays as it is.

Sources: AWQ (arXiv:2306.00978), SmoothQuant (arXiv:2211.10438). The exponents are searched; errors
are estimated from each channel's largest value and mean square, so no activations are kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmlite.model.config import ModelConfig
from glmlite.model.layer import DOWN, QKV, UP
from glmlite.model.parameters import FINAL_NORM, OUTPUT, layer_prefix
from glmlite.quant.calibration import ActivationStats
from glmlite.quant.packing import read_stored, store_blocks, store_columns

Float32Array = NDArray[np.float32]

_NORMS = {QKV: "input_layernorm.weight", UP: "post_attention_layernorm.weight"}
# Rows of a matrix that an exponent is tried on.
_ROWS = 256
_EXPONENTS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
# No channel gets a factor that is so far from the others'.
_LARGEST = 1e3


def fold_target(name: str, config: ModelConfig) -> tuple[str, tuple[int, int]] | None:
    """What takes the other half of a matrix' smoothing: a parameter, and which of its rows.

    Args:
        name: of the matrix.
        config: of the model.

    Returns:
        None where nothing can.
    """
    hidden, inner = config.hidden_size, config.ffn_hidden_size
    if name == OUTPUT:
        return FINAL_NORM, (0, hidden)
    for layer in range(config.num_layers):
        at = layer_prefix(layer)
        for matrix, norm in _NORMS.items():
            if name == at + matrix:
                return at + norm, (0, hidden)
        if name == at + DOWN:
            return at + UP, (inner, 2 * inner)
    return None


def smooth_blocks(
    weight: NDArray[Any],
    stats: ActivationStats,
    bits: int,
    block_size: int,
    symmetric: bool,
    *,
    rounds_inputs: bool = True,
) -> Float32Array | None:
    """Factors under which blocks leave the smallest error of the products; None for none.

    s = mean square^(exponent / 2): the more a channel carries, the finer it is rounded, and the
    less it spoils the channels that share its block where the engine rounds activations, too.

    Args:
        weight: float [out, in].
        stats: of what enters it.
        bits: see `store_blocks`.
        block_size: see there.
        symmetric: see there.
        rounds_inputs: whether activations become int8 in the same blocks (accuracy level 4).
    """
    part = _some_rows(weight)
    mean = float(stats.mean_square.mean(dtype=np.float64))
    power = _floored(stats.mean_square)
    if power is None:
        return None
    ranges = np.divide(stats.absmax, np.sqrt(mean), dtype=np.float32)
    best, least = None, np.inf
    for exponent in _EXPONENTS:
        factors = _normalize(np.power(power, np.float32(exponent / 2)))
        importance = np.divide(power, np.square(factors), dtype=np.float32)
        stored = store_blocks(
            part,
            bits,
            block_size,
            symmetric=symmetric,
            method="activation_aware",
            importance=importance,
            smoothing=factors,
        )
        scaled = part * factors
        wrong = read_stored(stored.form, stored.tensors) - scaled
        error = float((np.square(wrong).sum(axis=0, dtype=np.float64) * importance).sum())
        if rounds_inputs:
            starts = np.arange(0, len(ranges), block_size)
            steps = np.maximum.reduceat(ranges / factors, starts) / 127
            met = np.add.reduceat(np.square(scaled).sum(axis=0, dtype=np.float64), starts)
            error += float((np.square(steps, dtype=np.float64) / 12 * met).sum())
        if error < least:
            best, least = factors if exponent else None, error
    return best


def smooth_columns(weight: NDArray[Any], stats: ActivationStats, bits: int) -> Float32Array | None:
    """Factors that balance the rounding of activations and of weights; None for none.

    s = absmax^exponent / weight absmax^(1 - exponent). A token's values share one step, which the
    largest channel sets, so a step's error meets every column; a weight's error meets what its
    channel carries.

    Args:
        weight: float [out, in].
        stats: of what enters it.
        bits: see `store_columns`.
    """
    part = _some_rows(weight)
    mean = float(stats.mean_square.mean(dtype=np.float64))
    power = _floored(stats.mean_square)
    if power is None:
        return None
    ranges = np.maximum(stats.absmax / np.float32(np.sqrt(mean)), np.float32(1e-4))
    heights = np.maximum(np.abs(part).max(axis=0), np.float32(1e-6) * np.abs(part).max())
    if not heights.all():
        return None
    best, least = None, np.inf
    for exponent in (None, *_EXPONENTS[2:]):
        factors = np.ones_like(ranges)
        if exponent is not None:
            factors = ranges ** np.float32(exponent) / heights ** np.float32(1 - exponent)
            factors = _normalize(factors)
        stored = store_columns(part, bits, smoothing=factors)
        scaled = part * factors
        wrong = read_stored(stored.form, stored.tensors) - scaled
        step = float((ranges / factors).max()) / 127
        of_activations = step**2 / 12 * float(np.square(scaled).sum(dtype=np.float64))
        carried = power / np.square(factors)
        of_weights = float((np.square(wrong).sum(axis=0, dtype=np.float64) * carried).sum())
        if of_activations + of_weights < least:
            best, least = None if exponent is None else factors, of_activations + of_weights
    return best


def find_outliers(stats: ActivationStats, smoothing: Float32Array | None, count: int) -> list[int]:
    """The channels with the largest activations, ascending."""
    ranges = stats.absmax if smoothing is None else stats.absmax / smoothing
    return sorted(np.argsort(ranges)[::-1][: min(count, len(ranges) - 1)].tolist())


def _some_rows(weight: NDArray[Any]) -> Float32Array:
    """Rows that stand for all, float32."""
    chosen = np.linspace(0, len(weight) - 1, min(_ROWS, len(weight))).astype(np.int64)
    return weight[chosen].astype(np.float32)


def _floored(values: Float32Array) -> Float32Array | None:
    """Values of which none is far below the mean, 1 on average; None where all are 0."""
    mean = float(values.mean(dtype=np.float64))
    if not 0 < mean < np.inf:
        return None
    result: Float32Array = np.maximum(values / np.float32(mean), np.float32(1e-4))
    return result


def _normalize(factors: Float32Array) -> Float32Array:
    """Factors with a geometric mean of 1, within bounds."""
    mean = np.exp(np.log(factors.astype(np.float64)).mean())
    bounded: Float32Array = np.clip(factors / mean, 1 / _LARGEST, _LARGEST).astype(np.float32)
    return bounded
