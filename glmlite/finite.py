"""Whether a number out of somebody's file is one that a float can hold."""

from __future__ import annotations

import sys


def is_finite(value: float) -> bool:
    """Like `math.isfinite`, which raises for an integer of four hundred digits."""
    return abs(value) <= sys.float_info.max
