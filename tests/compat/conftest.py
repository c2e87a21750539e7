"""Bundles for MindFormers' calls; their graphs are empty files, so the NumPy engine runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from glmlite.compat import AutoModel
from tests.cli.conftest import write_bundle
from tests.compat.parrot import write_parrot


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory) -> Path:
    """The demo model, a ChatGLM2."""
    return write_bundle(tmp_path_factory.mktemp("compat") / "demo")


@pytest.fixture(scope="session")
def parrot_folder(tmp_path_factory) -> Path:
    """A ChatGLM3 with one reply; see `parrot.py`."""
    folder = tmp_path_factory.mktemp("compat")
    checkpoint = write_parrot(folder / "checkpoint")
    return write_bundle(folder / "parrot", checkpoint=str(checkpoint))


@pytest.fixture(scope="session")
def demo(demo_folder):
    model = AutoModel.from_pretrained(demo_folder, engine="reference")
    yield model
    model.close()


@pytest.fixture(scope="session")
def parrot(parrot_folder):
    model = AutoModel.from_pretrained(parrot_folder, engine="reference")
    yield model
    model.close()
