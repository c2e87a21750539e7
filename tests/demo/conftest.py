"""The shipped demo model."""

from __future__ import annotations

import pytest

from glmlite.checkpoint import Checkpoint, open_checkpoint
from glmlite.demo import CHECKPOINT
from glmlite.model.config import ModelConfig, from_huggingface
from glmlite.text import Tokenizer


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    return open_checkpoint(CHECKPOINT)


@pytest.fixture(scope="session")
def config(checkpoint: Checkpoint) -> ModelConfig:
    assert checkpoint.raw_config is not None
    return from_huggingface(checkpoint.raw_config)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer(CHECKPOINT / "tokenizer.model", family="glm2")
