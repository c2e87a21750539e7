"""Range checks that functions of the runtime share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmlite.errors import ConfigError


def check_number(name: str, value: object, interval: str) -> float:
    """`value` as a float, if it lies in `interval`.

    Args:
        name: what the value is called where the user wrote it.
        value: a real number, NumPy's included; NaN, bool and anything else are refused.
        interval: mathematical notation, e.g. "(0, 1]" or "[0, inf)".

    Raises:
        ConfigError: it does not; the message shows the name, the value and the interval.
    """
    low, high = (float(bound) for bound in interval[1:-1].split(","))
    if isinstance(value, Real) and not isinstance(value, bool):
        number = _as_float(value)
        above = number > low if interval[0] == "(" else number >= low
        below = number < high if interval[-1] == ")" else number <= high
        if above and below:  # NaN is neither
            return number
    raise ConfigError(
        "{name} is {found!r}; it must be a number in {interval}.",
        name=name,
        found=value,
        interval=interval,
    )


def _as_float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.nan


def check_integer(name: str, value: object, minimum: int) -> int:
    """`value`, if it is an integer of at least `minimum`.

    Raises:
        ConfigError: it is not; the message shows the name, the value and the minimum.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise ConfigError(
            "{name} is {found!r}; it must be an integer of at least {minimum}.",
            name=name,
            found=value,
            minimum=minimum,
        )
    return int(value)


def check_ids(ids: Sequence[int] | NDArray[np.integer[Any]], vocab_size: int) -> NDArray[np.int32]:
    """Token ids as an array.

    Args:
        ids: at least one.
        vocab_size: V; ids lie in [0, V).

    Returns:
        int32 [n], the caller's own.

    Raises:
        ConfigError: there are none, or one is no id of the model.
    """
    try:
        array = np.asarray(ids)
    except ValueError:  # lists of different lengths
        array = np.empty(0)
    if array.ndim != 1 or not array.size or not np.issubdtype(array.dtype, np.integer):
        raise ConfigError("Token ids must be a list of at least one integer.")
    outside = array[(array < 0) | (array >= vocab_size)]
    if outside.size:
        raise ConfigError(
            "Token id {found} does not exist; the model's ids end at {last}.",
            found=int(outside[0]),
            last=vocab_size - 1,
        )
    return array.astype(np.int32)
