"""How fast this machine reads memory: the ceiling of decoding, which reads every weight per token.

All threads stream a buffer that no cache holds, each its own part, over and over. Two ways to read
are tried, for neither is the fastest everywhere: int8 maxima (one load and one instruction per
vector register) and a float32 matrix times a vector (OpenBLAS, one thread for each part). The
fastest pass of all counts. The buffer lives in a process of its own, which also runs this file, so
that the peak memory of the process that measures an engine does not include it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

if __name__ == "__main__":  # before NumPy loads OpenBLAS
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray

# Several times the last-level cache of any machine that this may run on.
BUFFER_BYTES = 1 << 30
PASSES = 5
_COLUMNS = 4096


@dataclasses.dataclass(frozen=True)
class Bandwidth:
    """Result of a measurement.

    Attributes:
        bytes_per_second: of the fastest pass.
        median: of all passes of the faster way.
        threads: that read at the same time.
        buffer_bytes: read in each pass.
        passes: of each way.
        method: the faster way, "int8 maximum" or "matrix times vector".
    """

    bytes_per_second: float
    median: float
    threads: int
    buffer_bytes: int
    passes: int
    method: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)


def measure_bandwidth(
    threads: int, buffer_bytes: int = BUFFER_BYTES, passes: int = PASSES
) -> Bandwidth:
    """Measure in a process of its own; takes about two seconds and `buffer_bytes` of memory.

    Args:
        threads: 1 or more.
        buffer_bytes: made smaller where it would take more than a quarter of the free memory.
        passes: of each way to read; one more, the first, is not counted.
    """
    command = [sys.executable, __file__, str(threads), str(_affordable(buffer_bytes)), str(passes)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    return Bandwidth(**json.loads(ran.stdout))


def faster(one: Bandwidth, other: Bandwidth) -> Bandwidth:
    """The better of two measurements, e.g. before and after something else."""
    return max(one, other, key=lambda measured: measured.bytes_per_second)


def _affordable(buffer_bytes: int) -> int:
    from glmlite.runtime.host import inspect_host

    free = inspect_host().memory_available
    return min(buffer_bytes, free // 4) if free else buffer_bytes


def stream(threads: int, buffer_bytes: int, passes: int) -> Bandwidth:
    """Measure in this process; see `measure_bandwidth`."""
    rows = max(buffer_bytes // (4 * _COLUMNS * threads), 1)
    # Written, so that every page exists; the kernel gives pages that were only read from one frame.
    buffer = np.ones((threads, rows, _COLUMNS), np.float32)
    vector = np.ones(_COLUMNS, np.float32)

    def maximum(part: NDArray[np.float32]) -> None:
        part.reshape(-1).view(np.int8).max()

    def product(part: NDArray[np.float32]) -> None:
        np.dot(part, vector)

    found = {}
    with ThreadPoolExecutor(threads) as pool:
        for name, read in (("int8 maximum", maximum), ("matrix times vector", product)):
            speeds = []
            for _ in range(passes + 1):
                started = time.perf_counter()
                list(pool.map(read, buffer))
                speeds.append(buffer.nbytes / (time.perf_counter() - started))
            found[name] = speeds[1:]
    method = max(found, key=lambda name: max(found[name]))
    return Bandwidth(
        bytes_per_second=max(found[method]),
        median=statistics.median(found[method]),
        threads=threads,
        buffer_bytes=buffer.nbytes,
        passes=passes,
        method=method,
    )


if __name__ == "__main__":
    print(json.dumps(stream(*map(int, sys.argv[1:])).to_dict()))
