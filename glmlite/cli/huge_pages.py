"""Huge pages for the weights of ONNX Runtime: decoding reads all of them for every token.

ONNX Runtime keeps weights in malloc's memory. In pages of 4 KiB, a part of the time goes into
finding these pages; in pages of 2 MiB it does not (benchmarks/RESULTS.md). Linux gives huge pages
to who asks for them, and the C library asks if it is told to before the program starts: so the
program starts itself again, once, with the setting. A library cannot do that to its application;
docs/cpu.md tells the application's author what to set.

Source: the GNU C Library's manual, "Memory Allocation Tunables", glibc.malloc.hugetlb.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

TUNABLE = "glibc.malloc.hugetlb=1"
# Below that, weights fit caches and few pages, and starting again is all that would be felt.
LEAST_BYTES = 256 << 20
_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_FIRST_GLIBC = (2, 35)

# Whether this process is the program that the user started; `cli.run.run` says so.
is_program = False


def use_huge_pages(bundle: Path) -> None:
    """Start the program again with huge pages where a bundle gains from them.

    Args:
        bundle: what will be loaded; what is wrong with it is told later, by whoever loads it.
    """
    if is_program and _has_large_onnx_weights(bundle):
        restart_with_huge_pages()


def restart_with_huge_pages() -> None:
    """Start the program again if that brings huge pages; else do nothing."""
    set_already = TUNABLE.split("=")[0] in os.environ.get("GLIBC_TUNABLES", "")
    if not is_program or set_already or not _asks_for_huge_pages():
        return
    others = os.environ.get("GLIBC_TUNABLES")
    tunables = f"{others}:{TUNABLE}" if others else TUNABLE
    # Python's start answers Ctrl-C with a traceback; the new program lets it through.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        os.execve(  # noqa: S606 - this very program, with its own arguments
            sys.executable,
            [sys.executable, *sys.orig_argv[1:]],
            {**os.environ, "GLIBC_TUNABLES": tunables},
        )
    except OSError:  # small pages do as well
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _asks_for_huge_pages() -> bool:
    """Whether the kernel gives huge pages on demand, and the C library can ask for them."""
    try:
        setting = _SETTING.read_text(encoding="ascii")
    except OSError:
        return False
    import platform

    name, version = platform.libc_ver()
    numbers = tuple(int(part) for part in version.split(".") if part.isdecimal())
    return "[madvise]" in setting and name == "glibc" and numbers >= _FIRST_GLIBC


def _has_large_onnx_weights(bundle: Path) -> bool:
    try:
        manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
        is_onnx = any(graph["format"] == "onnx" for graph in manifest["graphs"])
        return bool(is_onnx and manifest["weights"]["bytes"] >= LEAST_BYTES)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
