"""A process that believes it has a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import sys
import time

# An editor asks the terminal to mark what is pasted, as long as it edits a line.
PASTE_ON, PASTE_OFF = "\x1b[?2004h", "\x1b[?2004l"


class Terminal:
    """Runs this interpreter on a pseudo-terminal.

    Args:
        arguments: of the interpreter.
        environment: all of it.

    Attributes:
        seen: everything that appeared so far.
    """

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self.seen = ""
        self._raw = b""
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [sys.executable, *arguments], environment)  # noqa: S606
        self._alive = True

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._alive:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._fd, text.encode())

    def answer(self, text: str, expected: str) -> None:
        """Wait until a line is asked for, type it, and wait for what should appear then.

        What is typed before that goes through the terminal's own line discipline, which keeps
        Ctrl-D for itself.
        """
        self.expect(PASTE_ON)
        self.type(text)
        self.expect(expected)

    def expect(self, text: str, *, seconds: float = 30) -> str:
        """Wait until `text` appears; gives what appeared up to it, and forgets that."""
        end = time.monotonic() + seconds
        while text not in self.seen:
            if not self._read(end - time.monotonic()):
                raise AssertionError(f"{text!r} did not appear in {self.seen!r}")
        before, _text, self.seen = self.seen.partition(text)
        return before

    def more(self, count: int, *, seconds: float = 30) -> str:
        """Wait until `count` more characters appeared; gives them, and forgets them."""
        end = time.monotonic() + seconds
        while len(self.seen) < count:
            if not self._read(end - time.monotonic()):
                raise AssertionError(f"no {count} characters in {self.seen!r}")
        before, self.seen = self.seen, ""
        return before

    def wait(self, *, seconds: float = 30) -> int:
        """Read until the process ends; gives its exit code."""
        end = time.monotonic() + seconds
        while self._read(end - time.monotonic()):
            pass
        pid, status = 0, 0
        while not pid and time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            time.sleep(0.01)
        if not pid:
            raise AssertionError(f"still running; it showed {self.seen!r}")
        self._alive = False
        return os.waitstatus_to_exitcode(status)

    def _read(self, seconds: float) -> bool:
        ready, _w, _x = select.select([self._fd], [], [], max(seconds, 0))
        data = b""
        # Linux reports the end of a terminal as an input/output error.
        with contextlib.suppress(OSError):
            data = os.read(self._fd, 65536) if ready else b""
        self._raw += data
        text = self._raw.decode("utf-8", errors="ignore")
        self._raw = self._raw[len(text.encode()) :]
        self.seen += text
        return bool(data)
