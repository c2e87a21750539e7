"""Which interpreter serves as the toolchain, and what it offers."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import glmlite.toolchain
from glmlite.errors import EngineError

ENVIRONMENT_VARIABLE = "GLMLITE_TOOLCHAIN"
_PROBE = Path(glmlite.toolchain.__file__).parent / "probe.py"
_PROBE_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Interpreter:
    """A Python interpreter and the versions of the packages in it (None: not installed)."""

    python: str
    version: str
    platform: str
    ascend: bool
    packages: dict[str, str | None]

    @property
    def mindspore(self) -> str | None:
        """MindSpore's version."""
        return self.packages.get("mindspore")

    @property
    def lite(self) -> str | None:
        """MindSpore Lite's version."""
        return self.packages.get("mindspore-lite")

    @property
    def is_current(self) -> bool:
        """Whether this is the running interpreter."""
        return self.python == sys.executable


def clean_environment() -> dict[str, str]:
    """This environment without what would lead another Python to this one's packages."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    env.update(PYTHONNOUSERSITE="1", PYTHONDONTWRITEBYTECODE="1", PYTHONIOENCODING="utf-8")
    return env


@functools.lru_cache(maxsize=32)
def probe_interpreter(python: str) -> Interpreter:
    """Ask an interpreter what it has, without importing anything heavy in it.

    Raises:
        EngineError: it cannot be started, is older than 3.7, or does not answer.
    """
    try:
        result = subprocess.run(  # noqa: S603 - the user names the interpreter
            [python, str(_PROBE)],
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=True,
        )
        return Interpreter(**json.loads(result.stdout))
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode("utf-8", errors="replace").strip()[-500:]
    except subprocess.TimeoutExpired:
        reason = "no answer"
    except OSError as error:
        reason = error.strerror or str(error)
    except (ValueError, TypeError):
        reason = "not a Python interpreter"
    raise EngineError(
        "The interpreter {python} cannot serve as a toolchain: {reason}",
        hint="Give the path of a Python executable (3.7 or newer), e.g. --toolchain "
        ".toolchain/bin/python (made by `make toolchain`).",
        python=python,
        reason=reason,
    )


def find_toolchain(toolchain: str | os.PathLike[str] | None = None) -> Interpreter:
    """The interpreter that is asked for, by argument or `GLMLITE_TOOLCHAIN`; else this one."""
    chosen = os.fspath(toolchain) if toolchain else os.environ.get(ENVIRONMENT_VARIABLE)
    return probe_interpreter(chosen or sys.executable)
