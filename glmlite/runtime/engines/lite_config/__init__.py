"""Lite's ini files: the shipped ones, their documented keys, and what a bundle adds to them."""

from __future__ import annotations

from glmlite.runtime.engines.lite_config.gears import Gear, gear_options, parse_gears
from glmlite.runtime.engines.lite_config.recipe import (
    CACHES,
    LiteConfig,
    find_lite_config,
    load_lite_config,
    render,
)
from glmlite.runtime.engines.lite_config.variables import variable_options

__all__ = [
    "CACHES",
    "Gear",
    "LiteConfig",
    "find_lite_config",
    "gear_options",
    "load_lite_config",
    "parse_gears",
    "render",
    "variable_options",
]
