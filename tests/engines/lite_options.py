"""What tests of Lite's options share: gears, a dynamic graph's inputs, and the check of keys."""

from __future__ import annotations

from collections.abc import Mapping

from glmlite.runtime.engines.lite_config import Gear
from glmlite.runtime.engines.lite_config.keys import KEYS
from glmlite.toolchain.signature import TensorInfo

GEARS = (Gear(1, 1, 512), Gear(1, 128, 512), Gear(4, 1, 2048))


def dynamic_inputs(batch: int = -1, tokens: int = -1, length: int = -1) -> list[TensorInfo]:
    cache = (batch, 2, length, 128)
    return [
        TensorInfo("input_ids", (batch, tokens), "int32"),
        TensorInfo("position", (batch,), "int32"),
        TensorInfo("valid_length", (batch,), "int32"),
        TensorInfo("past0", cache, "float16"),
        TensorInfo("past1", cache, "float16"),
    ]


def all_documented(sections: Mapping[str, Mapping[str, str]]) -> None:
    for section, values in sections.items():
        for key, value in values.items():
            assert KEYS[section][key].accepts(value), (section, key, value)
