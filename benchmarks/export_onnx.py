"""Time and memory of an ONNX export, beside a plain copy of the checkpoint.

    python benchmarks/export_onnx.py CHECKPOINT [--folder FOLDER] [--dtype float16] [--flavor ort]

CHECKPOINT is a folder such as benchmarks/random_checkpoint.py writes. `cp -r` and the export each
write into FOLDER (default: beside CHECKPOINT), are timed until everything lies on the disk, and are
removed again. Peak memory is the exporting process's own (VmHWM). Needs
`pip install 'glmlite[onnx]'`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_EXPORT = """
import json, sys, time
from glmlite.exporter.pipeline import run_export

class Stages:
    def __init__(self): self.began = []
    def stage(self, name, total=None, unit=""): self.began.append((name, time.monotonic()))
    def advance(self, amount=1): pass
    def done(self): self.began.append(("", time.monotonic()))

stages = Stages()
report = run_export(json.loads(sys.argv[1]), progress=stages)
pairs = zip(stages.began, stages.began[1:])
print("RESULT" + json.dumps({
    "seconds": report.seconds,
    "stages": {name: end - begin for (name, begin), (_, end) in pairs},
    "peak": next(int(s.split()[1]) for s in open("/proc/self/status") if s[:5] == "VmHWM") * 1024,
    "graph": report.manifest.files["model.onnx"].size,
    "bytes": sum(f.size for f in report.manifest.files.values()),
}))
"""


def timed_copy(checkpoint: Path, target: Path) -> float:
    """Seconds of `cp -r` and of syncing what it wrote."""
    started = time.monotonic()
    subprocess.run(["cp", "-r", checkpoint, target], check=True)
    subprocess.run(["sync", *target.iterdir()], check=True)
    return time.monotonic() - started


def timed_export(checkpoint: Path, target: Path, dtype: str, flavor: str) -> dict[str, Any]:
    """What an export in a process of its own took."""
    recipe = {
        "model": {"checkpoint": str(checkpoint), "family": "glm2", "dtype": dtype},
        "export": {
            "output": str(target),
            "format": "onnx",
            "flavor": flavor,
            "parity": "off",
        },
    }
    done = subprocess.run(
        [sys.executable, "-c", _EXPORT, json.dumps(recipe)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    result: dict[str, Any] = json.loads(done.stdout.partition("RESULT")[2])
    return result


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--dtype", default="float16", choices=["float16", "float32"])
    parser.add_argument("--flavor", default="ort", choices=["ort", "standard"])
    parser.add_argument("--keep", type=Path, help="keep the bundle here")
    arguments = parser.parse_args()
    checkpoint = arguments.checkpoint.resolve()
    size = sum(p.stat().st_size for p in checkpoint.iterdir())
    with tempfile.TemporaryDirectory(dir=arguments.folder or checkpoint.parent) as name:
        folder = Path(name)
        copying = timed_copy(checkpoint, folder / "copy")
        shutil.rmtree(folder / "copy")
        target = arguments.keep.resolve() if arguments.keep else folder / "bundle"
        found = timed_export(checkpoint, target, arguments.dtype, arguments.flavor)
    seconds = found["seconds"]
    print(f"checkpoint          {size / 1e9:8.2f} GB")
    print(f"cp -r, synced       {copying:8.1f} s   {size / 1e9 / copying:6.2f} GB/s")
    print(f"export, synced      {seconds:8.1f} s   {seconds / copying:6.2f} times the copy")
    print(f"peak memory         {found['peak'] / 2**30:8.2f} GiB")
    print(f"graph               {found['graph'] / 1e3:8.0f} kB")
    for stage, took in found["stages"].items():
        print(f"  {stage:30s} {took:6.1f} s")


if __name__ == "__main__":
    main()
