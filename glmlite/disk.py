"""How much room a disk has, and how to say it."""

from __future__ import annotations

import math
import shutil
from pathlib import Path


def free_bytes(folder: Path) -> float:
    """Bytes that are free where a folder lies; inf where the file system has no size to tell."""
    usage = shutil.disk_usage(folder)
    return usage.free if usage.total else math.inf


def amount(count: float) -> str:
    """Bytes in decimal units, as disks count them, e.g. "3.6 GB"; below 0.1 GB in MB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
