"""Gears: the sizes that a dynamic MindIR is compiled for."""

from __future__ import annotations

import pytest

from glmlite.errors import ConfigError
from glmlite.runtime.engines.lite_config import (
    Gear,
    gear_options,
    parse_gears,
)
from glmlite.toolchain.signature import TensorInfo
from tests.engines.lite_options import GEARS, all_documented, dynamic_inputs


def test_gears_of_a_dynamic_graph() -> None:
    found = gear_options(dynamic_inputs(), GEARS)
    assert found["ge.inputShape"] == (
        "input_ids:-1,-1;position:-1;valid_length:-1;past0:-1,2,-1,128;past1:-1,2,-1,128"
    )
    # Eight dimensions of -1, in the order in which they stand in ge.inputShape.
    assert found["ge.dynamicDims"] == (
        "1,1,1,1,1,512,1,512;1,128,1,1,1,512,1,512;4,1,4,4,4,2048,4,2048"
    )
    all_documented({"ge_graph_options": found})
    holes = found["ge.inputShape"].count("-1")
    assert all(gear.count(",") + 1 == holes for gear in found["ge.dynamicDims"].split(";"))


def test_gears_over_tokens_alone() -> None:
    found = gear_options(dynamic_inputs(1, -1, 512), (Gear(1, 32, 512), Gear(1, 128, 512)))
    assert found["ge.dynamicDims"] == "32;128"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1x32x512", "There are 1 gears; GE takes 2 to 100"),
        (",".join(f"1x{t}x512" for t in range(1, 102)), "There are 101 gears"),
        ("1x32x512,1x32x512", "1x32x512 is listed twice"),
        ("1x64x512,1x32x512", "1x32x512 stands behind 1x64x512"),
        ("1x32,1x64", "'1x32' is no gear"),
        ("1x32x512,1x64x32", "64 tokens do not fit a cache of 32"),
        ("0x1x2,1x1x2", "between 1 and"),
    ],
)
def test_bad_gears(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_gears(text)


def test_a_hundred_gears_are_fine() -> None:
    gears = parse_gears(",".join(f"1x{t}x512" for t in range(1, 101)))
    assert gear_options(dynamic_inputs(), gears)["ge.dynamicDims"].count(";") == 99


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (dynamic_inputs(1, 1, 512), "no dynamic dimension"),
        (dynamic_inputs(2), "has 2 fixed"),
        (dynamic_inputs()[:4], "has 4 inputs"),
        (
            [*dynamic_inputs()[:4], TensorInfo("past1", (-1, -1, -1, 128), "float16")],
            "the model fixes",
        ),
        ([*dynamic_inputs()[:4], TensorInfo("past1", (-1, 2), "float16")], "with 2 dimensions"),
        ([*dynamic_inputs()[:4], TensorInfo("a:b", (-1, 2, -1, 128), "float16")], "'a:b'"),
        (dynamic_inputs(-1, 1, 512), "has 1 fixed"),
    ],
)
def test_gears_for_the_wrong_graph(inputs: list[TensorInfo], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        gear_options(inputs, GEARS)


def test_gears_that_are_the_same_to_a_graph() -> None:
    inputs = dynamic_inputs(1, -1, 512)
    inputs[0] = TensorInfo("input_ids", (1, 1), "int32")
    inputs[3] = TensorInfo("past0", (-1, 2, 512, 128), "float16")
    with pytest.raises(ConfigError, match=r"asks for another size|are the same"):
        gear_options(inputs, (Gear(1, 1, 512), Gear(1, 2, 512)))
