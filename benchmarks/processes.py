"""Memory and disk that a command and its children take, sampled from /proc while it runs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

_SECONDS = 0.2
_FIELDS = ("VmHWM", "VmRSS", "RssAnon")


@dataclasses.dataclass
class Usage:
    """What a command took.

    Attributes:
        seconds: wall clock. returncode: of the command.
        peaks: process number -> its name and its largest resident set (VmHWM), in bytes.
        together: the largest sum of resident sets at one time; shared pages count for each process.
        anonymous: the largest sum of what is no page of a file, and cannot be dropped.
        disk: bytes that a folder's files took at most, hard links counted once.
    """

    seconds: float = 0.0
    returncode: int = 0
    peaks: dict[int, tuple[str, int]] = dataclasses.field(default_factory=dict)
    together: int = 0
    anonymous: int = 0
    disk: int = 0

    def describe(self) -> str:
        """The figures in lines of text, in GB (10⁹ bytes) and GiB."""
        lines = [f"seconds      {self.seconds:8.1f}"]
        for _, (name, peak) in sorted(self.peaks.items()):
            lines.append(f"peak         {_size(peak)}  {name}")
        lines.append(f"together     {_size(self.together)}")
        lines.append(f"  anonymous  {_size(self.anonymous)}")
        lines.append(f"disk         {_size(self.disk)}")
        return "\n".join(lines)


def measure(
    command: Sequence[str | os.PathLike[str]], folder: Path, floor: int = 50_000_000
) -> Usage:
    """Run a command and sample it and all that it starts.

    Args:
        command: program and arguments.
        folder: whose files are watched; best one that nobody else uses.
        floor: processes that stay below so many bytes are left out.
    """
    usage = Usage()
    started = time.monotonic()
    process = subprocess.Popen(command)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_SECONDS):
            _sample(process.pid, usage)
            usage.disk = max(usage.disk, _taken(folder))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        usage.returncode = process.wait()
    finally:
        done.set()
        thread.join()
    usage.seconds = time.monotonic() - started
    usage.peaks = {pid: peak for pid, peak in usage.peaks.items() if peak[1] >= floor}
    return usage


def _sample(root: int, usage: Usage) -> None:
    resident = anonymous = 0
    for pid in _family(root):
        with contextlib.suppress(OSError, KeyError, IndexError):
            fields = _status(pid)
            name = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            usage.peaks[pid] = (name[:60].strip(), fields["VmHWM"])
            resident += fields["VmRSS"]
            anonymous += fields["RssAnon"]
    usage.together = max(usage.together, resident)
    usage.anonymous = max(usage.anonymous, anonymous)


def _status(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pairs = (line.split(":", 1) for line in lines)
    return {key: 1024 * int(value.split()[0]) for key, value in pairs if key in _FIELDS}


def _family(root: int) -> list[int]:
    """A process and its descendants."""
    found = [root]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in task.read_text().split()]
    return found


def _taken(folder: Path) -> int:
    files: dict[int, int] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                status = os.lstat(os.path.join(place, name))
                files[status.st_ino] = 512 * status.st_blocks
    return sum(files.values())


def _size(number: int) -> str:
    return f"{number / 1e9:8.2f} GB = {number / 2**30:6.2f} GiB"
