"""Numbers of NumPy are numbers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from glmlite.errors import ConfigError
from glmlite.runtime.ranges import check_integer, check_number
from glmlite.runtime.sampling import SamplingParams


def test_numpy_integers_are_taken() -> None:
    assert type(check_integer("n", np.int64(3), 0)) is int
    assert SamplingParams(top_k=np.int32(5), logit_bias={np.int64(7): 1.0}).top_k == 5


@pytest.mark.parametrize("value", [True, np.bool_(True), 1.0, np.float32(2), "3", None])
def test_other_values_are_not(value: object) -> None:
    with pytest.raises(ConfigError):
        check_integer("n", value, 0)


@pytest.mark.parametrize("value", [5, 5.0, np.int64(5), np.float32(5), np.float16(5), Fraction(5)])
def test_real_numbers_are_taken(value: object) -> None:
    found = check_number("n", value, "(0, 5]")
    assert (type(found), found) == (float, 5.0)


@pytest.mark.parametrize(
    "value",
    [True, np.bool_(True), "3", None, 3j, math.nan, np.float32("nan"), 5.5, 0, 10**400, -(10**400)],
)
def test_other_numbers_are_not(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^n is .*; it must be a number in"):
        check_number("n", value, "(0, 5]")
