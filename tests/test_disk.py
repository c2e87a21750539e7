"""Room on disks: said so that small amounts are not nothing, and not asked where none is told."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from glmlite.disk import amount, free_bytes


def test_a_disk_without_a_size_is_not_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(total=10, free=0))
    assert free_bytes(tmp_path) == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(total=0, free=0))
    assert free_bytes(tmp_path) == math.inf


def test_small_amounts_are_not_nothing() -> None:
    said = [amount(count) for count in (0, 1_500_000, 99_900_000, 100_000_000, 3_640_000_000)]
    assert said == ["0.0 MB", "1.5 MB", "99.9 MB", "0.1 GB", "3.6 GB"]
