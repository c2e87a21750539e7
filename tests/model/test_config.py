"""Sizes beyond all bounds are refused before shapes are made of them."""

from __future__ import annotations

import dataclasses

import pytest

from glmlite.errors import ConfigError
from glmlite.model.config import ModelConfig
from glmlite.model.presets import PRESETS

TINY = ModelConfig(1, 8, 2, 1, 4, 6, 11, 16)
SIZES = [f.name for f in dataclasses.fields(ModelConfig) if f.type == "int"]


@pytest.mark.parametrize("name", SIZES)
def test_every_size_has_a_bound(name: str) -> None:
    for found in (2**24 + 4, 2**31 - 1):
        with pytest.raises(ConfigError) as caught:
            dataclasses.replace(TINY, **{name: found})
        for said in (name, str(found), "at most"):
            assert said in str(caught.value)


def test_bounds_are_generous() -> None:
    dataclasses.replace(TINY, num_layers=1024, vocab_size=2**22, seq_length=2**20)
    for preset in PRESETS.values():
        largest = preset.config
        dataclasses.replace(largest, hidden_size=16 * largest.hidden_size)
