"""A tiny bundle to measure."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import write_bundle
from tests.fixtures.models import MODELS
from tests.fixtures.writing import write_checkpoint


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory) -> Path:
    """A random model without a tokenizer; its cache holds 4,096 tokens."""
    folder = tmp_path_factory.mktemp("bench")
    checkpoint = write_checkpoint(MODELS["glm2"], folder / "checkpoint")
    return write_bundle(folder / "bundle", checkpoint=str(checkpoint))
