"""What this machine is: processor features, memory, disk."""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
from pathlib import Path

# Instruction sets that decide how fast matrix products run, slowest first; names as Linux has them.
CPU_FEATURES = (
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimdhp",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
)


@dataclasses.dataclass(frozen=True)
class Host:
    """One machine.

    Attributes:
        system: e.g. "Linux-x86_64".
        cpu: the processor's name, "" where unknown.
        cores: logical processors that this process may use.
        cpu_features: those of `CPU_FEATURES` that it has.
        memory_total: bytes, None where unknown.
        memory_available: bytes that can be had without swapping, None where unknown.
        memory_limit: bytes that this process's container allows, None without a limit.
        disk_free: bytes free in the folder that was asked about.
    """

    system: str
    cpu: str
    cores: int
    cpu_features: tuple[str, ...]
    memory_total: int | None
    memory_available: int | None
    memory_limit: int | None
    disk_free: int


def inspect_host(folder: Path | None = None) -> Host:
    """Look at this machine; `folder` (default: the current one) is where disk space counts."""
    info = _cpu_info(_read("/proc/cpuinfo"))
    flags = set(info.get("flags", info.get("Features", "")).split())
    memory = _memory_info(_read("/proc/meminfo"))
    return Host(
        system=f"{platform.system()}-{platform.machine()}",
        cpu=info.get("model name", platform.processor()),
        cores=_usable_cores(),
        cpu_features=tuple(name for name in CPU_FEATURES if name in flags),
        memory_total=memory.get("MemTotal", _installed_memory()),
        memory_available=memory.get("MemAvailable"),
        memory_limit=_memory_limit(),
        disk_free=shutil.disk_usage(folder or Path.cwd()).free,
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cpu_info(text: str) -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo."""
    first = text.strip().split("\n\n", 1)[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _colon, value in pairs}


def _memory_info(text: str) -> dict[str, int]:
    """Entries of /proc/meminfo in bytes."""
    found = {}
    for line in text.splitlines():
        key, _colon, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[0].isdigit() and words[1] == "kB":
            found[key] = int(words[0]) * 1024
    return found


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _installed_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _memory_limit() -> int | None:
    """The smallest limit on the way up from this process's control group (cgroup v2, else v1)."""
    limits = []
    for line in _read("/proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            root, name = Path("/sys/fs/cgroup"), "memory.max"
        elif "memory" in controllers.split(","):
            root, name = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        else:
            continue
        group = root / path.lstrip("/")
        # Inside a container the path may be the host's; the root is then the container's own.
        for folder in (group, *group.parents):
            text = _read(str(folder / name)).strip()
            if text.isdigit():
                limits.append(int(text))
            if folder == root:
                break
    # cgroup v1 writes "no limit" as a number near 2**63.
    real = [limit for limit in limits if limit < 2**60]
    return min(real) if real else None
