"""This machine's CPU as a device: its memory, and its peaks as they are measured now."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping

import numpy as np

from glmlite.planning.devices import Device, Factor
from glmlite.planning.kernels import measure_kernels
from glmlite.planning.storage import MatrixKind

_SIZE = 1024
_REPEATS = 12
_BUFFER = 512 << 20
_PASSES = 4
# The engine's shares replace these; a step cannot beat the machine's peaks.
_ALL = Factor(1.0, 1.0, 1.0, "machine")


def measured_cpu(threads: int | None = None, kernels: Iterable[MatrixKind] = ()) -> Device:
    """The CPU as `threads` threads find it; takes about two seconds, and half a second a kernel.

    Args:
        threads: of the engine; None: all that this process may use.
        kernels: kinds of weights whose products in ONNX Runtime are measured, too.
    """
    from glmlite.bench.bandwidth import measure_bandwidth
    from glmlite.runtime.host import inspect_host

    host = inspect_host()
    count = threads or host.cores
    bandwidth = measure_bandwidth(count, _BUFFER, _PASSES).bytes_per_second
    memory = min(host.memory_total or 0, host.memory_limit or 1 << 60)
    products = measure_kernels(count, kernels)
    # The same on a quiet machine; a busy one slows down now the one, now the other.
    flops = max(measure_product(count), products.get("float32", 0.0))
    return cpu_device(bandwidth, flops, memory, products)


def cpu_device(
    bandwidth: float, flops: float, memory: int, products: Mapping[str, float] | None = None
) -> Device:
    """A CPU as a device.

    Args:
        bandwidth: bytes a second from memory.
        flops: float32 operations a second.
        memory: bytes.
        products: operations a second of ONNX Runtime's kernels, by kind of weights.
    """
    found = Device("cpu", "CPU", "cpu", memory, 0, bandwidth, flops, _ALL, _ALL, "machine")
    return dataclasses.replace(found, products=products or {})


def measure_product(threads: int) -> float:
    """Float32 operations a second of NumPy's matrix product, in a process of its own."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | {name: str(threads) for name in names}
    command = [sys.executable, "-m", "glmlite.planning.machine"]
    ran = subprocess.run(  # noqa: S603 - ours
        command, env=environment, capture_output=True, text=True, check=True
    )
    return float(json.loads(ran.stdout))


def _product() -> float:
    left = np.ones((_SIZE, _SIZE), np.float32)
    best = float("inf")
    for _ in range(_REPEATS):
        started = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - started)
    return float(2 * _SIZE**3 / best)


if __name__ == "__main__":
    print(json.dumps(_product()))
