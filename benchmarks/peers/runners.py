"""Running a peer in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LLAMA = "llama.cpp"
RUNNERS = {"chatglm.cpp": "run_chatglm.py", LLAMA: "run_llama.py"}


def run(command: Sequence[Any], *, quiet: bool = False) -> str:
    """What a command prints; its stderr is shown, unless `quiet`.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GLMLITE_LANG": "en"}
    ran = subprocess.run(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        env=environment,
        check=True,
    )
    return ran.stdout


def run_peer(python: Path, peer: str, arguments: Sequence[Any], *, quiet: bool = False) -> str:
    """What a peer's script prints; llama.cpp runs without its repacked layouts where they crash.

    Args:
        python: of the peers' venv.
        peer: a key of `RUNNERS`.
        arguments: of its script.
        quiet: do not show its stderr.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [python, HERE / RUNNERS[peer], *arguments]
    try:
        return run(command, quiet=quiet)
    except subprocess.CalledProcessError as error:
        if peer != LLAMA or error.returncode >= 0:
            raise
        # On processors with AMX its tiles end in a segmentation fault.
        print(
            f"{peer} died of signal {-error.returncode}: again without repacking",
            file=sys.stderr,
            flush=True,
        )
        return run([*command, "--no-extra-buffers"], quiet=quiet)
