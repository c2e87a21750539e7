"""How many threads a product of matrices is worth here."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")


def default_threads() -> int:
    """Physical cores that this process may use: two threads of one core share its arithmetic."""
    if not hasattr(os, "sched_getaffinity"):
        return max(1, os.cpu_count() or 1)
    cores = {_core_of(cpu) for cpu in os.sched_getaffinity(0)}
    return max(1, min(len(cores), _quota()))


def _core_of(cpu: int) -> str:
    """A name that all hardware threads of a core have in common."""
    try:
        return (_CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return str(cpu)


def _quota() -> int:
    """Whole processors that the container allows (cgroup v2)."""
    try:
        allowed, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return math.ceil(int(allowed) / int(period))
    except (OSError, ValueError, ZeroDivisionError):  # "max": no limit
        return 1 << 16
