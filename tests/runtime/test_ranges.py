"""Integers of NumPy are integers."""

from __future__ import annotations

import numpy as np
import pytest

from glmlite.errors import ConfigError
from glmlite.runtime.ranges import check_integer
from glmlite.runtime.sampling import SamplingParams


def test_numpy_integers_are_taken() -> None:
    assert type(check_integer("n", np.int64(3), 0)) is int
    assert SamplingParams(top_k=np.int32(5), logit_bias={np.int64(7): 1.0}).top_k == 5


@pytest.mark.parametrize("value", [True, np.bool_(True), 1.0, np.float32(2), "3", None])
def test_other_values_are_not(value: object) -> None:
    with pytest.raises(ConfigError):
        check_integer("n", value, 0)
