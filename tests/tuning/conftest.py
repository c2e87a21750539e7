"""A small ONNX bundle that may be changed, and settings to put into it."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmlite.bundle import Bundle
from glmlite.tuning.settings import TunedSettings, host_identity
from glmlite.tuning.store import updating
from tests.engines.bundles import FORMATS, Bundles

Keep = Callable[..., TunedSettings]


@pytest.fixture
def folder(bundles: Bundles, tmp_path: Path) -> Path:
    return shutil.copytree(bundles.export("prefix_wide", **FORMATS["onnx"]), tmp_path / "bundle")


@pytest.fixture
def settings() -> TunedSettings:
    """Of this machine, but nothing that anybody would choose."""
    cpu, cores = host_identity()
    return TunedSettings(cpu, cores, 3, 5, False, 64, 16, 100.0, 10.0, "1.31.0")


@pytest.fixture
def keep(folder: Path, settings: TunedSettings) -> Keep:
    """Puts the settings, changed, into the bundle."""

    def write(**changes: Any) -> TunedSettings:
        changed = dataclasses.replace(settings, **changes)
        with updating(Bundle.open(folder)) as update:
            update(changed)
        return changed

    return write
