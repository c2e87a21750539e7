"""A tiny base model for adapters to go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoint.adapters.bases import Base
from tests.fixtures.models import MODELS
from tests.fixtures.writing import write_checkpoint


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return Base(MODELS["glm2"], write_checkpoint(MODELS["glm2"], tmp_path / "base"))
