"""An interpreter that has MindSpore Lite and no MindSpore, and converters that misbehave."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glmlite.runtime.engines.interpreter import clean_environment
from tests.engines.bundles import FORMATS, Bundles

_NEEDED = ("mindspore_lite*", "numpy*", "pkg_resources")
_CONVERTER = """#!{python}
# {marker}
import json, os, sys, time
with open({record!r}, "a") as file:
    file.write(json.dumps({{"argv": sys.argv, "env": dict(os.environ)}}) + "\\n")
OUT = next(a.split("=", 1)[1] for a in sys.argv if a.startswith("--outputFile="))
{body}
"""


@pytest.fixture(scope="session")
def lite_only(toolchain: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The toolchain's Python with its MindSpore Lite and NumPy, and nothing else."""
    folder = tmp_path_factory.mktemp("lite-only")
    environment = clean_environment()
    subprocess.run([toolchain, "-m", "venv", "--without-pip", folder], env=environment, check=True)
    where = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    python = folder / "bin" / "python"
    theirs, ours = (
        Path(subprocess.check_output([p, "-c", where], env=environment, encoding="utf-8").strip())
        for p in (toolchain, python)
    )
    for pattern in _NEEDED:
        for package in theirs.glob(pattern):
            (ours / package.name).symlink_to(package)
    found = subprocess.run(
        [python, "-c", "import mindspore"], env=environment, capture_output=True, check=False
    )
    assert b"No module named 'mindspore'" in found.stderr
    return str(python)


class Package:
    """A package root whose `converter_lite` is a script: it writes down how it was called."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tool = root / "tools" / "converter" / "converter" / "converter_lite"
        self._record = root / "record.jsonl"

    def make(self, body: str = "", marker: str = "--saveType") -> Path:
        self.tool.parent.mkdir(parents=True)
        text = _CONVERTER.format(
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
    return Package(tmp_path / "mindspore-lite-2.2.0-linux-x64")


@pytest.fixture(autouse=True)
def no_package_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PACKAGE_ROOT", "PACKAGE_ROOT_PATH", "LITE_HOME", "LD_LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def onnx_bundle(bundles: Bundles) -> Callable[..., Path]:
    """Exports a model as ONNX, of flavor ort or standard."""

    def export(name: str, kind: str = "onnx", **changes: Any) -> Path:
        return bundles.export(name, **FORMATS[kind], **changes)

    return export
