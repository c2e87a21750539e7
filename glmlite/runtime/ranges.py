"""Range checks that sampling functions and their parameters share."""

from __future__ import annotations

import math
from numbers import Integral

from glmlite.errors import ConfigError


def check_number(name: str, value: object, interval: str) -> float:
    """`value` as a float, if it lies in `interval`.

    Args:
        name: what the value is called where the user wrote it.
        value: an int or a float; NaN, bool and anything else are refused.
        interval: mathematical notation, e.g. "(0, 1]" or "[0, inf)".

    Raises:
        ConfigError: it does not; the message shows the name, the value and the interval.
    """
    low, high = (float(bound) for bound in interval[1:-1].split(","))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        above = value > low if interval[0] == "(" else value >= low
        below = value < high if interval[-1] == ")" else value <= high
        if above and below and not math.isnan(value):
            return float(value)
    raise ConfigError(
        "{name} is {found!r}; it must be a number in {interval}.",
        name=name,
        found=value,
        interval=interval,
    )


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
