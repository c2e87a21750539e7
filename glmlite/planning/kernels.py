"""How fast ONNX Runtime multiplies a chunk of a prompt by each kind of weights, on this machine.

A graph of one product for each kind, made as the exporter makes it and run in a process of its own:
what its kernels reach depends on what the processor multiplies integers with, which no float32
product tells.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from glmlite.planning.storage import FLOATS, MATRIX_KINDS, MatrixKind, matrix_form
from glmlite.toolchain.quantized import companions

_SIZE = 4096
_ROWS = 256
# Of one kind, after a run that warms up; the first of the two that is reached ends it.
_SECONDS = 0.35
_REPEATS = 12
_TIMEOUT = 60.0


def measure_kernels(threads: int, kinds: Iterable[MatrixKind]) -> dict[str, float]:
    """Multiplications and additions a second of ONNX Runtime's product, by kind of weights.

    Takes half a second a kind, and a second to start.

    Args:
        threads: that share a product.
        kinds: what to measure.

    Returns:
        Nothing where ONNX Runtime or the package onnx is missing or does not run.
    """
    wanted = [kind for kind in MATRIX_KINDS if kind in set(kinds)]
    if not wanted:
        return {}
    command = [sys.executable, "-m", "glmlite.planning.kernels", str(threads), *wanted]
    try:
        with tempfile.TemporaryDirectory(prefix="glmlite-plan-") as folder:
            ran = subprocess.run(  # noqa: S603 - ours
                command,
                # What a process that is killed leaves behind goes with the folder.
                env=os.environ | {"TMPDIR": folder},
                capture_output=True,
                text=True,
                check=True,
                timeout=_TIMEOUT,
            )
        found: dict[str, float] = json.loads(ran.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}
    return found


def product_speed(kind: MatrixKind, threads: int, size: int = _SIZE, rows: int = _ROWS) -> float:
    """Measure one kind in this process.

    Args:
        kind: of the weights.
        threads: that share the product.
        size: rows and columns of the matrix.
        rows: of what it is multiplied with.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = _session(Path(folder), kind, threads, size)
        fed = {"x": np.random.default_rng(1).standard_normal((1, rows, size), np.float32)}
        session.run(None, fed)
        best, begun = math.inf, time.perf_counter()
        for _ in range(_REPEATS):
            started = time.perf_counter()
            session.run(None, fed)
            best = min(best, time.perf_counter() - started)
            if time.perf_counter() - begun > _SECONDS:
                break
        # Its file must not be open where the folder is removed.
        del session
    return 2 * rows * size * size / best


def _session(folder: Path, kind: MatrixKind, threads: int, size: int) -> Any:
    from glmlite.exporter.onnx_graph.builder import GraphBuilder
    from glmlite.exporter.onnx_graph.linear import Products, linear
    from glmlite.exporter.weights import WeightsFile
    from glmlite.runtime.engines.onnx_session import open_session

    with WeightsFile(folder / "weights") as file:
        if kind in FLOATS:
            file.add("w", np.full((size, size), 0.01, np.float32))
        else:
            form = matrix_form(kind) | {"shape": [size, size]}
            file.add_quantized("w", form, _tensors(form))
    graph = GraphBuilder(file.index, 17)
    x = graph.input("x", ("batch", "tokens", size), np.float32)
    graph.output("y", linear(graph, Products(), x, "w", "/product"))
    graph.save(folder / "product.onnx", "product", 8, {})
    return open_session(folder / "product.onnx", threads)


def _tensors(form: dict[str, Any]) -> dict[str, Any]:
    """Random integers and equal scales: a product takes as long whatever it multiplies."""
    rng = np.random.default_rng(0)
    tensors = {}
    for suffix, (dtype, shape) in companions("", form).items():
        count = math.prod(shape)
        if dtype == "float32":
            tensors[suffix] = np.full(shape, 0.01, np.float32)
        else:
            integers = np.frombuffer(rng.bytes(count), dtype).reshape(shape)
            tensors[suffix] = np.clip(integers, -64, 64) if dtype == "int8" else integers
    return tensors


def main() -> None:
    """`python -m glmlite.planning.kernels THREADS KIND …`: speeds as JSON."""
    threads, kinds = int(sys.argv[1]), sys.argv[2:]
    speeds = {kind: product_speed(kind, threads) for kind in MATRIX_KINDS if kind in kinds}
    print(json.dumps(speeds))


if __name__ == "__main__":
    main()
