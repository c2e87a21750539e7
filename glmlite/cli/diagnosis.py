"""What `glmlite doctor` finds out: interpreters, version pairs that fit, what is missing."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from glmlite.cli.onnx_diagnosis import OnnxState, inspect_onnx
from glmlite.errors import EngineError
from glmlite.i18n import _
from glmlite.runtime.engines.interpreter import (
    ENVIRONMENT_VARIABLE,
    Interpreter,
    clean_environment,
    probe_interpreter,
)
from glmlite.runtime.engines.onnx_session import MINIMUM
from glmlite.runtime.engines.versions import reads_mindir, version_key

LOCAL_TOOLCHAIN = Path(".toolchain/bin/python")
_IMPORT_SECONDS = 120


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An interpreter that may serve, and where it was found.

    Attributes:
        python: its path, as given.
        origin: "this", "--toolchain", "GLMLITE_TOOLCHAIN", ".toolchain", "pyenv" or "PATH".
        found: what it has; None where it does not answer, and `problem` says why.
        problem: why it cannot serve, or which package cannot be imported.
    """

    python: str
    origin: str
    found: Interpreter | None = None
    problem: str = ""

    @property
    def named(self) -> bool:
        """Someone meant this one; others merely lie about."""
        return self.origin not in ("pyenv", "PATH")


@dataclasses.dataclass(frozen=True)
class Pair:
    """An exporter and a runner: does the runner read the exporter's MindIR?

    Attributes:
        fits: it does, at float32.
        fits_float16: at float16 too.
    """

    exporter: str
    exporter_version: str
    runner: str
    runner_version: str
    engine: str
    fits: bool
    fits_float16: bool


@dataclasses.dataclass(frozen=True)
class Advice:
    """Something that is missing, and how to get it; `needed` where nothing works without it."""

    text: str
    command: str
    needed: bool


def find_interpreters(this: str, toolchain: str | None, *, imports: bool) -> list[Candidate]:
    """All interpreters worth knowing, probed, each once.

    Args:
        this: the running interpreter.
        toolchain: what `--toolchain` names.
        imports: also import the packages in each (slow, and proves that they work).
    """
    named = [
        (this, "this"),
        (toolchain, "--toolchain"),
        (os.environ.get(ENVIRONMENT_VARIABLE), ENVIRONMENT_VARIABLE),
        (str(LOCAL_TOOLCHAIN.absolute()) if LOCAL_TOOLCHAIN.exists() else None, ".toolchain"),
    ]
    places = [(python, origin) for python, origin in named if python]
    places += [(python, "pyenv") for python in _pyenv_pythons()]
    places += [(python, "PATH") for python in _path_pythons()]
    with ThreadPoolExecutor(max_workers=4) as pool:
        candidates = list(pool.map(lambda place: _probe(*place), places))
        unique = _deduplicate(candidates)
        if imports:
            unique = list(pool.map(_try_imports, unique))
    return unique


def find_pairs(candidates: Iterable[Candidate]) -> list[Pair]:
    """Every exporter with every runner; see `reads_mindir`."""
    able = [c.found for c in candidates if c.found is not None]
    runners = [(i, "mindspore", i.mindspore) for i in able if i.mindspore]
    runners += [(i, "lite", i.lite) for i in able if i.lite]
    pairs = []
    for exporter in able:
        if not exporter.mindspore:
            continue
        for runner, engine, version in runners:
            pairs.append(
                Pair(
                    exporter=exporter.python,
                    exporter_version=exporter.mindspore,
                    runner=runner.python,
                    runner_version=version,
                    engine=engine,
                    fits=reads_mindir(engine, version, exporter.mindspore, "float32"),
                    fits_float16=reads_mindir(engine, version, exporter.mindspore, "float16"),
                )
            )
    return pairs


def advise(candidates: Sequence[Candidate], pairs: Sequence[Pair]) -> list[Advice]:
    """What is missing, the needed things first."""
    able = [c.found for c in candidates if c.found is not None]
    this = able[0].version if able else ""
    advice = []
    if not any(i.mindspore for i in able):
        fits = (3, 10) <= version_key(this)[:2] <= (3, 12)
        advice.append(
            Advice(
                _("No MindSpore: nothing can be exported to MindIR."),
                "pip install 'glmlite[mindspore]'" if fits else "make toolchain",
                needed=not (able and able[0].packages.get("onnx")),
            )
        )
    has_37 = any(version_key(i.version)[:2] == (3, 7) for i in able)
    if not any(i.lite for i in able):
        advice.append(
            Advice(
                _("No MindSpore Lite: the engine `lite` is not available.")
                + ("" if has_37 else " " + _("Its PyPI wheel (2.0.0) needs Python 3.7.")),
                "make toolchain" if has_37 else "pyenv install 3.7 && make toolchain",
                needed=False,
            )
        )
    elif not any(pair.fits and pair.engine == "lite" for pair in pairs):
        advice.append(
            Advice(
                _("No MindSpore here is old enough for this MindSpore Lite to read its MindIR."),
                "make toolchain",
                needed=False,
            )
        )
    advice += _advise_onnx(inspect_onnx(able[0] if able else None, ()))
    return sorted(advice, key=lambda item: not item.needed)


def _advise_onnx(state: OnnxState) -> list[Advice]:
    """What keeps this interpreter from making ONNX bundles, or from running them fast."""
    if state.onnxruntime is None:
        text = _("No ONNX Runtime in this interpreter: ONNX bundles run on the slow NumPy engine.")
        return [Advice(text, "pip install 'glmlite[onnx]'", needed=False)]
    advice = []
    if not state.new_enough:
        text = _(
            "ONNX Runtime {found} is too old for the engine `onnx`, which needs {minimum}.",
            found=state.onnxruntime,
            minimum=MINIMUM,
        )
        command = f"pip install -U 'onnxruntime>={MINIMUM}'"
        advice.append(Advice(text, command, needed=False))
    if state.onnx is None:
        text = _("No package onnx in this interpreter: nothing can be exported to ONNX.")
        advice.append(Advice(text, "pip install 'glmlite[onnx]'", needed=False))
    return advice


def _pyenv_pythons() -> list[str]:
    root = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    return sorted(str(path) for path in root.glob("versions/*/bin/python"))


def _path_pythons() -> list[str]:
    names = ["python3", *(f"python3.{minor}" for minor in range(7, 14))]
    return [path for path in map(shutil.which, names) if path]


def _probe(python: str, origin: str) -> Candidate:
    try:
        return Candidate(python, origin, probe_interpreter(python))
    except EngineError as error:
        return Candidate(python, origin, problem=str(error).splitlines()[0])


def _could_serve(found: Interpreter) -> bool:
    version = version_key(found.version)[:2]
    has_any = bool(found.mindspore or found.lite)
    return has_any or version == (3, 7) or (3, 10) <= version <= (3, 12)


def _deduplicate(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The first of each interpreter; of those that merely lie about, only what could serve."""
    seen: set[str] = set()
    kept = []
    for candidate in candidates:
        found = candidate.found
        if found is None or (not candidate.named and not _could_serve(found)):
            if candidate.named:
                kept.append(candidate)
            continue
        # A virtual environment's python is a link to another one, with other packages.
        home = Path(found.python).parent.parent
        in_venv = (home / "pyvenv.cfg").exists()
        identity = os.path.realpath(home if in_venv else found.python)
        if identity not in seen:
            seen.add(identity)
            kept.append(candidate)
    return kept


def _try_imports(candidate: Candidate) -> Candidate:
    """Import what the interpreter claims to have, each package in a process of its own."""
    if candidate.found is None:
        return candidate
    for package, version in candidate.found.packages.items():
        if version is None:
            continue
        module = package.replace("-", "_")
        try:
            subprocess.run(  # noqa: S603 -- an interpreter that has just been probed
                [candidate.found.python, "-c", f"import {module}"],
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_IMPORT_SECONDS,
                check=True,
            )
        except subprocess.TimeoutExpired:
            reason = _("no answer")
        except subprocess.CalledProcessError as error:
            lines = error.stderr.decode("utf-8", errors="replace").strip().splitlines()
            reason = lines[-1] if lines else str(error.returncode)
        else:
            continue
        return dataclasses.replace(candidate, problem=f"import {module}: {reason}")
    return candidate
