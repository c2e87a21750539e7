"""How much room a disk has, and how to say it."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from glmlite.errors import ExportError


def free_bytes(folder: Path) -> float:
    """Bytes that are free where a folder lies; inf where the file system has no size to tell."""
    usage = shutil.disk_usage(folder)
    return usage.free if usage.total else math.inf


def amount(count: float) -> str:
    """Bytes in decimal units, as disks count them, e.g. "3.6 GB"; below 0.1 GB in MB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def check_space(folder: Path, needed: int, work: str) -> None:
    """Refuse to begin what cannot end.

    Args:
        folder: the staging folder, beside the output.
        needed: bytes that will be written at least.
        work: what needs them, as the beginning of a sentence.

    Raises:
        ExportError: the disk has less room.
    """
    free = free_bytes(folder)
    if free < needed:
        raise ExportError(
            "{work} needs {needed} of disk and {path} has {free} free.",
            hint="Free some space or name another --output.",
            work=work,
            needed=amount(needed),
            free=amount(free),
            path=str(folder.parent),
        )
