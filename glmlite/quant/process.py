"""Runs a converter: its lines are passed on as they come, and it cannot outlive us."""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence

from glmlite.errors import ExportError

Log = Callable[[str], None]

_TAIL_LINES = 40
_LINE_CHARS = 2000
_DRAIN_SECONDS = 5.0


def run_logged(
    argv: Sequence[str], env: Mapping[str, str], timeout: float | None, log: Log
) -> tuple[int, str]:
    """Run a program until it ends.

    Args:
        argv: the program and its arguments.
        env: its whole environment.
        timeout: seconds; None for no limit.
        log: gets each line that it prints, on either stream, from another thread.

    Returns:
        The exit code (negative: a signal's number) and the last lines.

    Raises:
        ExportError: it cannot be started, or took too long; it and its children are ended.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - the user names the converter
            list(argv),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise ExportError(
            "The converter {program} cannot be started: {error}",
            hint="Check that the package fits this machine (x86_64 or aarch64).",
            program=argv[0],
            error=error.strerror or str(error),
        ) from error
    tail: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)

    def read() -> None:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        while line := process.stdout.readline(_LINE_CHARS):
            if line.strip():
                tail.append(line.rstrip())
                log(line.rstrip())

    reader = threading.Thread(target=read, daemon=True)
    try:
        reader.start()  # in here: a Ctrl-C may come while the thread starts
        code = process.wait(timeout)
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            "The converter took longer than {seconds:g} s and was ended. The end of its log:\n"
            "{log}",
            hint="Give it more time: --timeout SECONDS",
            seconds=timeout,
            log="\n".join(tail) or "-",
        ) from error
    finally:
        _end(process)
        if reader.ident is not None:
            # A grandchild that left the group may hold the pipe; nobody waits for that.
            reader.join(_DRAIN_SECONDS)
    return code, "\n".join(tail)


def _end(process: subprocess.Popen[str]) -> None:
    """Kill what is left of the program's process group, and collect it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
