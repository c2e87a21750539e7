"""The memory of the process that holds the weights."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Memory:
    """Resident memory in bytes; None where the system does not tell.

    Attributes:
        holder: "this process" or "worker".
        peak: the most so far, mapped files included (VmHWM).
        anonymous: of what is resident now, the part that no file backs.
        mapped: of what is resident now, the pages of mapped files.
    """

    holder: str
    peak: int | None
    anonymous: int | None
    mapped: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)


def forget_peak() -> None:
    """Let this process's peak begin again from what is resident now, where the system can."""
    # Where it cannot, the peak includes what happened before.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def read_memory(worker: int | None) -> Memory:
    """Look at a worker process, or at this one.

    Args:
        worker: process number; None: this process.
    """
    holder = "this process" if worker is None else "worker"
    try:
        text = Path(f"/proc/{worker or 'self'}/status").read_text(encoding="utf-8")
    except OSError:
        return Memory(holder, _peak_by_resource() if worker is None else None, None, None)
    sizes = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[1] == "kB":
            sizes[key] = int(words[0]) * 1024
    return Memory(holder, sizes.get("VmHWM"), sizes.get("RssAnon"), sizes.get("RssFile"))


def _peak_by_resource() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024
