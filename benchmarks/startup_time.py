"""How long `import glmlite` and `glmlite --help` take: the median of 20 processes each.

    python benchmarks/startup_time.py [--json] [--repeat 20] [--limit 0.3]

Exit code 1 if a median is above the limit. An empty interpreter is measured too, for comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {
    "python": ["-c", "pass"],
    "import glmlite": ["-c", "import glmlite"],
    "glmlite --help": ["-m", "glmlite.cli", "--help"],
    "glmlite chat --help": ["-m", "glmlite.cli", "chat", "--help"],
}


def measure(arguments: list[str], repeat: int) -> list[float]:
    """Seconds of `repeat` runs, after one that warms the file cache and writes bytecode."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    seconds = []
    for _run in range(repeat + 1):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--limit", type=float, default=0.3, help="seconds")
    options = parser.parse_args()

    results = {}
    for name, arguments in COMMANDS.items():
        seconds = measure(arguments, options.repeat)
        results[name] = {"median": statistics.median(seconds), "worst": max(seconds)}
    passed = all(result["median"] <= options.limit for result in results.values())
    if options.json:
        report = {
            "python": platform.python_version(),
            "repeat": options.repeat,
            "limit": options.limit,
            "passed": passed,
            "seconds": results,
        }
        print(json.dumps(report, indent=2))
    else:
        for name, result in results.items():
            print(f"{name:20} median {result['median']:.3f} s, worst {result['worst']:.3f} s")
        print(f"limit {options.limit} s: {'kept' if passed else 'EXCEEDED'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
