"""Small bundles to quantize, and a converter that only writes down how it was called."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmlite.demo import load_corpus
from glmlite.progress import NoProgress
from tests.cli.conftest import (  # noqa: F401 - fixtures
    environment,
    glmlite_command,
    write_bundle,
)
from tests.engines.bundles import Bundles

# Tiny models have tiny weights; the shipped recipes would leave most of them as they are.
SMALL = """
[common_quant_param]
quant_type=WEIGHT_QUANT
bit_num=8
min_quant_weight_size=0
min_quant_weight_channel=0
{more}
[weight_quant_param]
dequant_strategy=ON_THE_FLY
per_channel=True
bias_correction=False

[ascend_context]
provider=ge
"""

_RECORDER = """#!{python}
# Quantizes nothing: it writes down its arguments, its environment and the config it was given.
# {marker}
import json, os, sys, time
with open({record!r}, "a") as file:
    config = next(a.split("=", 1)[1] for a in sys.argv if a.startswith("--configFile="))
    json.dump({{"argv": sys.argv, "env": dict(os.environ), "cfg": open(config).read()}}, file)
    file.write("\\n")
{body}
"""


@pytest.fixture
def small_recipe(tmp_path: Path) -> Callable[..., Path]:
    """A recipe for Ascend that quantizes every matrix."""

    def write(more: str = "", name: str = "small.cfg") -> Path:
        path = tmp_path / name
        path.write_text(SMALL.format(more=more), encoding="utf-8")
        return path

    return write


class Package:
    """A package root whose `converter_lite` is a recorder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tool = root / "tools" / "converter" / "converter" / "converter_lite"
        self._record = root / "record.jsonl"

    def make(self, body: str = "", marker: str = "--saveType") -> Path:
        self.tool.parent.mkdir(parents=True)
        text = _RECORDER.format(
            python=sys.executable, record=str(self._record), body=body, marker=marker
        )
        self.tool.write_text(text, encoding="utf-8")
        self.tool.chmod(0o755)
        return self.root

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._record.read_text().splitlines()]


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(tmp_path / "mindspore-lite-2.2.0-linux-x86_64")


@pytest.fixture(autouse=True)
def no_package_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PACKAGE_ROOT", "PACKAGE_ROOT_PATH", "LITE_HOME", "LD_LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def tiny(bundles: Bundles) -> Path:
    """A random GLM2 with one prefill and one decode graph, exported for Lite where that is here."""
    return bundles.export("glm2", export__prefill_tokens=[7])


@pytest.fixture(scope="session")
def short_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some dialogues: enough to calibrate on, and quick to measure on."""
    path = tmp_path_factory.mktemp("text") / "short.txt"
    turns = [d.turns[0] for d in load_corpus()][::9][:12]
    lines = [f"[Round 1]\n\n问：{turn.ask[0]}\n\n答：{turn.answer}\n" for turn in turns]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A recipe for CPUs that needs no calibration."""
    path = tmp_path / "plain.yaml"
    path.write_text("scheme: block\nbits: 8\nmethod: round\n")
    return path


@pytest.fixture
def float_bundle(tmp_path: Path) -> Path:
    """The demo model, to be quantized or spoilt."""
    return write_bundle(tmp_path / "float")


class Stages(NoProgress):
    """Progress that remembers its stages."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def stage(self, name: str, total: int = 0, unit: str = "") -> None:
        self.told.append(name)
