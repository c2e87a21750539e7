"""Options of engines that are none, or that no machine, or not this one, can serve."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import pytest

from glmlite.errors import ConfigError, EngineError
from glmlite.runtime.engines import EngineOptions
from glmlite.runtime.engines.options import THREADS_PER_PROCESSOR


def test_more_threads_than_make_sense() -> None:
    with pytest.raises(EngineError, match=r"threads is 100000; .* at most"):
        EngineOptions(threads=100_000)


def test_threads_up_to_the_limit() -> None:
    most = THREADS_PER_PROCESSOR * (os.cpu_count() or 1)
    assert EngineOptions(threads=most).threads == most


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads is 0; it must be an integer of at least 1"),
        ({"threads": -1}, "threads is -1; it must be an integer of at least 1"),
        ({"threads": "2"}, "threads is '2'; it must be an integer of at least 1"),
        ({"threads": True}, "threads is True; it must be an integer"),
        ({"threads": 2.0}, r"threads is 2\.0; it must be an integer"),
        ({"device_id": "0"}, "device_id is '0'; it must be an integer of at least 0"),
        ({"device_id": -1}, "device_id is -1; it must be an integer of at least 0"),
        ({"rank_id": None}, "rank_id is None; it must be an integer of at least 0"),
        ({"toolchain": 3}, "toolchain is 3; it must be text"),
        ({"provider": 3}, "provider is 3; it must be text"),
        ({"engine_config": 3}, "engine_config is 3; it must be text"),
    ],
)
def test_values_of_another_kind(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EngineOptions(**options)


def test_numpys_integers_are_integers() -> None:
    options = EngineOptions(threads=int_of(1), device_id=int_of(0), rank_id=int_of(3))
    assert json.loads(json.dumps(options.to_dict()))["rank_id"] == 3


def int_of(value: int) -> Any:
    return np.int64(value)
