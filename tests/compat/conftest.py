"""Bundles for MindFormers' calls; their graphs are empty files, so the NumPy engine runs them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from glmlite.compat import AutoModel
from tests.cli.conftest import write_bundle
from tests.compat.parrot import DEMO, write_parrot
from tests.quant.conftest import Package


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory) -> Path:
    """The demo model, a ChatGLM2."""
    return write_bundle(tmp_path_factory.mktemp("compat") / "demo")


@pytest.fixture(scope="session")
def glm3_checkpoint(tmp_path_factory) -> Path:
    """The demo model's checkpoint called a ChatGLM3: the same weights under the other prompts."""
    folder = tmp_path_factory.mktemp("compat") / "glm3"
    shutil.copytree(DEMO, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["_name_or_path"] = "THUDM/chatglm3-6b"
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


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


@pytest.fixture(scope="session")
def tiny(bundles) -> Path:
    """A random GLM2 with one prefill and one decode MindIR; that of tests/quant."""
    return bundles.export("glm2", export__prefill_tokens=[7])


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """A package root of MindSpore Lite whose converter writes down how it was called."""
    return Package(tmp_path / "mindspore-lite-2.2.0-linux-x86_64")
