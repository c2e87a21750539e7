"""Runs modules of this folder in another interpreter, beside the toolchain's package.

    python elsewhere.py MODULE ARGUMENT…

The module beside this file has a function `main` that takes the arguments and returns JSON data. It
may import `glmlite_toolchain`, and must be valid Python 3.7.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOOLCHAIN = os.path.join(os.path.dirname(os.path.dirname(HERE)), "glmlite", "toolchain")


def run_elsewhere(python: str, module: str, *arguments: str) -> object:
    """What the module's `main` returns in another process."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    command = [python, os.path.abspath(__file__), module, *map(str, arguments)]
    found = subprocess.run(
        command, env=dict(env, GLOG_v="3"), capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return json.loads(found.stdout.rpartition("RESULT")[2])


def _main() -> None:
    spec = importlib.util.spec_from_file_location("start", os.path.join(TOOLCHAIN, "__main__.py"))
    start = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(start)
    start.load_package()
    sys.path.insert(0, HERE)
    result = importlib.import_module(sys.argv[1]).main(*sys.argv[2:])
    print("RESULT" + json.dumps(result))


if __name__ == "__main__":
    _main()
