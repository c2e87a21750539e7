"""Bundles for the command line: whole but for their graphs, so the reference engine runs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from glmlite.bundle.manifest import GraphEntry, Manifest, TokenizerEntry, WeightsEntry
from glmlite.bundle.store import describe_files
from glmlite.exporter.config import load_config
from glmlite.exporter.plan import make_plan
from glmlite.exporter.weights import INDEX, WEIGHTS, weights_bytes, write_weights
from glmlite.progress import NoProgress
from glmlite.runtime.model import load
from tests.fixtures.models import MODELS
from tests.fixtures.writing import write_checkpoint

ROOT = Path(__file__).parent.parent.parent
REFERENCE = ["--engine", "reference"]
CACHE = 4096


def write_bundle(folder: Path, **overrides: object) -> Path:
    """The demo model, or another one, as a bundle whose graphs are empty files."""
    plan = make_plan(load_config("demo", {f"model.{key}": v for key, v in overrides.items()}))
    folder.mkdir()
    write_weights(plan.checkpoint, plan.model, plan.dtype, folder / WEIGHTS, NoProgress())
    tokenizer = None
    if plan.tokenizer is not None:
        content = Path(plan.tokenizer.vocabulary.path).read_bytes()
        (folder / "tokenizer.model").write_bytes(content)
        tokenizer = TokenizerEntry("tokenizer.model", plan.tokenizer.special_ids)
    (folder / "decode.mindir").write_bytes(b"no graph")
    manifest = Manifest(
        model=plan.model,
        family=plan.family,
        tokenizer=tokenizer,
        graphs=(GraphEntry("decode", 1, CACHE, 1, "mindir", "decode.mindir", (), ()),),
        weights=WeightsEntry(
            plan.dtype, "none", weights_bytes(plan.model, plan.dtype), f"{WEIGHTS}/{INDEX}"
        ),
        files=describe_files(folder, NoProgress()),
        prefix_length=0,
        prefix_cache=None,
        parity=(),
        producer={"glmlite": "test"},
        checkpoint={},
    )
    (folder / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def demo_bundle(tmp_path_factory) -> Path:
    """The demo model, a ChatGLM2."""
    return write_bundle(tmp_path_factory.mktemp("cli") / "demo")


@pytest.fixture(scope="session")
def hello(demo_bundle) -> str:
    """What the demo model answers to 你好."""
    with load(demo_bundle, "reference") as model:
        return "".join(piece.text for piece in model.chat([{"role": "user", "content": "你好"}]))


@pytest.fixture(scope="session")
def glm3_bundle(tmp_path_factory) -> Path:
    """The demo model's weights called a ChatGLM3: it talks nonsense under the right template."""
    folder = tmp_path_factory.mktemp("cli")
    shutil.copytree(ROOT / "glmlite" / "demo" / "checkpoint", folder / "checkpoint")
    config = folder / "checkpoint" / "config.json"
    raw = json.loads(config.read_text(encoding="utf-8")) | {"_name_or_path": "chatglm3"}
    config.write_text(json.dumps(raw), encoding="utf-8")
    return write_bundle(folder / "glm3", checkpoint=str(folder / "checkpoint"))


@pytest.fixture(scope="session")
def base_bundle(tmp_path_factory) -> Path:
    """The demo model called a base model."""
    return write_bundle(tmp_path_factory.mktemp("cli") / "base", family="base")


@pytest.fixture(scope="session")
def mute_bundle(tmp_path_factory) -> Path:
    """A random model without a tokenizer."""
    folder = tmp_path_factory.mktemp("cli")
    checkpoint = write_checkpoint(MODELS["glm2"], folder / "checkpoint")
    return write_bundle(folder / "mute", checkpoint=str(checkpoint))


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """A process's environment that reaches nobody's home and speaks English."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("GLMLITE", "PYTEST"))}
    return keep | {
        "GLMLITE_LANG": "en",
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm",
        "PROMPT_TOOLKIT_NO_CPR": "1",
    }


@pytest.fixture
def glmlite_command(environment) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `glmlite` in a process of its own."""

    def run(*arguments: object, stdin: str = "", **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "glmlite.cli", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            env=environment | extra,
            timeout=120,
            check=False,
        )

    return run
