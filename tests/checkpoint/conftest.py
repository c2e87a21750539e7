"""The interpreters that have MindSpore."""

from __future__ import annotations

import importlib.util
import sys

import pytest


@pytest.fixture(params=["here", "toolchain"])
def python(request: pytest.FixtureRequest) -> str:
    """An interpreter with MindSpore: this one, and the toolchain's 2.0.0."""
    if request.param == "toolchain":
        return str(request.getfixturevalue("toolchain"))
    if importlib.util.find_spec("mindspore") is None:
        pytest.skip("MindSpore is not installed here")
    return sys.executable
