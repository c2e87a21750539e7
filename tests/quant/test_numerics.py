from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from glmlite.errors import CheckpointError
from glmlite.quant.numerics import dequantize, quantize, split_blocks, to_unsigned


def normal(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(1).normal(0.1, 1.0, shape).astype(dtype)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_no_value_is_off_by_more_than_half_a_step(bits: int, dtype: str) -> None:
    weight = normal((33, 70), dtype)
    found = quantize(weight, bits)
    assert found.values.dtype == np.int8
    assert found.values.min() >= -(2 ** (bits - 1))
    assert found.values.max() <= 2 ** (bits - 1) - 1
    error = np.abs(dequantize(found) - weight.astype(np.float64))
    # Half a step, and the last digit of float32; at an end of the range up to a whole one, for the
    # zero point is rounded as well.
    assert (error <= found.scale[:, None] * (1 + 1e-5)).all()
    inside = np.abs(found.values + 0.5) < 2 ** (bits - 1) - 1
    assert (
        error[inside] <= (found.scale[:, None] * (0.5 + 1e-5) * np.ones_like(error))[inside]
    ).all()


def test_a_row_by_hand_in_exact_arithmetic() -> None:
    # min -1, max 3: the scale is 4/255, and -1 lies 63.75 steps below 0.
    row = np.array([[-1.0, 0.0, 1.0, 3.0]])
    found = quantize(row)
    assert found.scale[0] == np.float32(4 / 255)
    assert found.zero_point[0] == -64 + 128
    scale = Fraction(float(found.scale[0]))
    expected = [round(Fraction(v) / scale) - 64 for v in row[0].tolist()]
    assert found.values[0].tolist() == [max(-128, min(127, v)) for v in expected]


def test_zero_stays_zero_even_where_all_values_are_above_it() -> None:
    found = quantize(np.array([[5.0, 6.0, 5.5, 0.0], [-2.0, -3.0, -2.5, 0.0]]))
    assert dequantize(found)[:, 3].tolist() == [0.0, 0.0]
    assert found.zero_point.tolist() == [128.0, -127.0]


def test_rows_of_zeros_and_constant_rows() -> None:
    weight = np.array([[0.0] * 5, [2.5] * 5, [-1e-3] * 5, [-0.0] * 5], np.float32)
    found = quantize(weight)
    np.testing.assert_allclose(dequantize(found), weight, rtol=1e-6)
    assert (found.scale > 0).all()


def test_subnormal_rows_become_zeros_and_huge_ones_stay_finite() -> None:
    weight = np.array([[1e-44, -1e-44], [3e38, -3e38], [1e38, 1.0]], np.float32)
    found = quantize(weight)
    real = dequantize(found)
    assert real[0].tolist() == [0.0, 0.0]
    assert np.isfinite(real).all()
    np.testing.assert_allclose(real[1], weight[1], rtol=1e-2)


def test_an_outlier_costs_its_own_row_only() -> None:
    weight = normal((4, 64))
    before = dequantize(quantize(weight))
    weight[2, 5] = 1e4
    after = dequantize(quantize(weight))
    assert (after[[0, 1, 3]] == before[[0, 1, 3]]).all()
    assert abs(after[2, 5] - 1e4) < 40
    assert np.abs(after[2, :5]).max() < 40


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    weight = normal((3, 8))
    weight[1, 3] = bad
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        quantize(weight)


def test_the_unsigned_form_means_the_same() -> None:
    signed = quantize(normal((7, 19)))
    unsigned = to_unsigned(signed)
    assert unsigned.values.dtype == np.uint8
    assert (unsigned.values.astype(int) - signed.values.astype(int) == 128).all()
    assert (dequantize(unsigned) == dequantize(signed)).all()


def test_blocks_are_groups_of_their_own() -> None:
    weight = normal((6, 64))
    blocks = quantize(split_blocks(weight, 16), bits=4)
    assert blocks.scale.shape == (6, 4)
    one_by_one = np.stack([dequantize(quantize(b, 4)) for b in split_blocks(weight, 16)])
    assert (dequantize(blocks) == one_by_one).all()
    by_row = dequantize(quantize(weight, 4))
    error = np.abs(dequantize(blocks).reshape(6, 64) - weight).mean()
    assert error < np.abs(by_row - weight).mean()
    with pytest.raises(ValueError, match="blocks"):
        split_blocks(weight, 24)
