"""Builds both peers from PyPI into a venv of their own; about ten minutes on two cores.

    python benchmarks/peers/install.py [--venv build/peers/venv]

Needs a C++ compiler. Both find out by themselves which instructions this processor has.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("chatglm-cpp==0.4.2", "llama-cpp-python==0.3.36")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / "build" / "peers" / "venv")
    venv = parser.parse_args().venv
    python = venv / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    # chatglm.cpp asks for a CMake policy that CMake 4 has dropped.
    environment = {**os.environ, "CMAKE_POLICY_VERSION_MINIMUM": "3.5"}
    for package in PACKAGES:
        print(f"building {package} …", flush=True)
        command = [python, "-m", "pip", "install", "--quiet", package]
        subprocess.run(command, env=environment, check=True)
    print(f"done: {venv}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
