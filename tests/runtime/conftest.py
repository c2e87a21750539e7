"""Tokenizers of the demo, in each family: small enough for the contract double."""

from __future__ import annotations

from pathlib import Path

import pytest

from glmlite.text import Tokenizer

DEMO = Path(__file__).parents[2] / "glmlite" / "demo" / "checkpoint" / "tokenizer.model"


@pytest.fixture(scope="session")
def glm2() -> Tokenizer:
    return Tokenizer(DEMO, "glm2")


@pytest.fixture(scope="session")
def glm3() -> Tokenizer:
    return Tokenizer(DEMO, "glm3")


@pytest.fixture(scope="session")
def base() -> Tokenizer:
    return Tokenizer(DEMO, "base")
