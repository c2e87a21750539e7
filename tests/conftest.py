"""What every folder of tests may use: goldens, the toolchain, exported bundles."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

# Two test processes share the cores; threads that wait for each other cost more than they give.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest

from glmlite.i18n import language
from tests.engines.bundles import Bundles

ROOT = Path(__file__).parent.parent

# A shell starts its background jobs with Ctrl-C ignored, and programs under test inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests say themselves which interpreter they mean, and read messages in English.
if "GLMLITE_TOOLCHAIN" in os.environ:  # kept under a name of its own for the test processes
    os.environ["GLMLITE_TEST_TOOLCHAIN"] = os.environ.pop("GLMLITE_TOOLCHAIN")
_NAMED_TOOLCHAIN = os.environ.get("GLMLITE_TEST_TOOLCHAIN")
os.environ["GLMLITE_LANG"] = "en"
language.cache_clear()


def _find_toolchain() -> tuple[str | None, str]:
    """The interpreter with MindSpore Lite, or why there is none."""
    python = Path(_NAMED_TOOLCHAIN or ROOT / ".toolchain" / "bin" / "python")
    if not python.exists():
        return None, f"there is no {python.name} at {os.path.relpath(python, ROOT)}"
    code = "import importlib.util as u; assert u.find_spec('mindspore_lite')"
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    if subprocess.run([python, "-c", code], env=env, capture_output=True, check=False).returncode:
        return None, f"{os.path.relpath(python, ROOT)} has no mindspore_lite"
    return str(python.absolute()), ""


_TOOLCHAIN, _NO_TOOLCHAIN = _find_toolchain()


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """The official code's results, which lie beside the repository and not in it."""
    folder = ROOT.parent / "shared" / "golden"
    if not (folder / "glm2_tiny" / "cases.json").is_file():
        pytest.skip("the golden data (../shared/golden) is not here")
    return folder


@pytest.fixture(scope="session")
def toolchain() -> str:
    """The interpreter that has MindSpore 2.0.0 and MindSpore Lite 2.0.0."""
    if _TOOLCHAIN is None:
        pytest.skip(f"no toolchain: {_NO_TOOLCHAIN}; build it with `make toolchain`")
    return _TOOLCHAIN


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """Exports each model once a session, when it is first asked for."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared-bundles"
    shared.mkdir(exist_ok=True)
    return Bundles(tmp_path_factory.mktemp("checkpoints"), shared, ROOT, _TOOLCHAIN)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the toolchain, so that `-m "not lite"` leaves it out."""
    for item in items:
        if "toolchain" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.lite)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly when nothing was run on the real MindSpore Lite."""
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum("toolchain" in str(report.longrepr) for report in skipped)
    if _TOOLCHAIN is None and count:
        terminalreporter.section("REAL MINDSPORE LITE WAS NOT TESTED", sep="!", red=True, bold=True)
        terminalreporter.line(
            f"{count} tests need Python 3.7 with MindSpore Lite 2.0.0 and were skipped: "
            f"{_NO_TOOLCHAIN}.\nBuild it with `make toolchain`, or name one in GLMLITE_TOOLCHAIN."
        )
