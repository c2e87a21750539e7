"""Saving and loading with MindSpore's own functions, in an interpreter that has it."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

_SCRIPT = Path(__file__).with_name("mindspore_saving.py")


@functools.cache
def _start(python: str) -> subprocess.Popen[str]:
    """The script in an interpreter, started once: importing MindSpore costs more than all it does.

    It ends when this process does, for then its standard input does.
    """
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.Popen(
        [python, str(_SCRIPT)],
        env=env | {"PYTHONNOUSERSITE": "1", "PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def run(python: str, *arguments: Any) -> None:
    """Have `mindspore_saving.py` do something, and fail with all it printed if it fails."""
    process = _start(python)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps([str(argument) for argument in arguments]) + "\n")
    process.stdin.flush()
    printed = []
    for line in process.stdout:
        if line == "DONE\n":
            return
        if line == "FAILED\n":
            break
        printed.append(line)
    else:
        _start.cache_clear()
    raise AssertionError("".join(printed))
