"""Saving and loading with MindSpore's own functions, in an interpreter that has it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

_SCRIPT = Path(__file__).with_name("mindspore_saving.py")


def run(python: str, *arguments: Any) -> None:
    """Run `mindspore_saving.py`, which says what its arguments mean."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    env["PYTHONNOUSERSITE"] = "1"
    command = [python, str(_SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, env=env, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
