"""Small files for tests of the toolchain."""

from __future__ import annotations

from pathlib import Path


def write_mindir(path: Path, version: int) -> None:
    """The smallest file that has a graph and a `mind_ir_version` (fields 7 and 13)."""
    path.write_bytes(bytes([7 << 3 | 2, 0, 13 << 3 | 0, version]))
