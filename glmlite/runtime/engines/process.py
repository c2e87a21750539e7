"""A worker process in the toolchain's interpreter, seen from the parent."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import glmlite.toolchain
from glmlite.errors import EngineError, WorkerDiedError
from glmlite.runtime.engines.interpreter import clean_environment
from glmlite.runtime.engines.interrupts import interrupt_deferred
from glmlite.toolchain import protocol

_FOLDER = Path(glmlite.toolchain.__file__).parent
_LOG_TAIL_BYTES = 4000
_STOP_SECONDS = 5.0


def _environment(python: str) -> dict[str, str]:
    env = clean_environment()
    env["GLMLITE_WORKER_PYTHON"] = python
    env["GLMLITE_WORKER_PARENT"] = str(os.getpid())
    env.setdefault("GLOG_v", "3")
    return env


class WorkerProcess:
    """Starts `python glmlite/toolchain`, sends requests, and tells how it died if it does.

    Args:
        python: path of the interpreter; None is the current one.

    Raises:
        EngineError: the interpreter cannot be started.
    """

    def __init__(self, python: str | os.PathLike[str] | None = None) -> None:
        self.python = os.fspath(python) if python else sys.executable
        self._lock = threading.Lock()
        self._between_frames = True  # no frame is under way, so another request may follow
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the user names the interpreter
                [self.python, str(_FOLDER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=_environment(self.python),
            )
        except OSError as error:
            self._log.close()
            raise EngineError(
                "The toolchain's interpreter {python} cannot be started: {error}",
                hint="Give the path of a Python executable, e.g. --toolchain "
                ".toolchain/bin/python (made by `make toolchain`).",
                python=self.python,
                error=error.strerror or str(error),
            ) from error

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def request(
        self,
        header: Mapping[str, Any],
        arrays: Sequence[NDArray[Any]] = (),
        on_progress: Callable[[Mapping[str, Any]], None] | None = None,
        deferring: bool = True,
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """Send one request and wait for its answer.

        Args:
            header: {"request": name, …}.
            arrays: what goes with it.
            on_progress: called with every frame before the answer.
            deferring: hold Ctrl-C back until the answer is there (for short requests); otherwise,
                and at a second Ctrl-C, the worker is ended.

        Raises:
            EngineError: the worker reported an error.
            WorkerDiedError: it ended instead of answering.
        """
        with self._lock:
            try:
                with interrupt_deferred() if deferring else contextlib.nullcontext():
                    reply, out = self._exchange(header, arrays, on_progress)
            except (protocol.ConnectionClosedError, OSError, ValueError) as error:
                raise self._died() from error
            except KeyboardInterrupt:
                if not self._between_frames:
                    self.kill()
                raise
        if "error" in reply:
            raise EngineError.from_dict(reply["error"])
        return reply, out

    def _exchange(
        self,
        header: Mapping[str, Any],
        arrays: Sequence[NDArray[Any]],
        on_progress: Callable[[Mapping[str, Any]], None] | None,
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        assert isinstance(self._process.stdin, io.BufferedWriter)  # noqa: S101 - both are pipes
        assert isinstance(self._process.stdout, io.BufferedReader)  # noqa: S101
        self._between_frames = False
        protocol.send(self._process.stdin, header, arrays)
        while True:
            reply, out = protocol.receive(self._process.stdout)
            if reply.get("done"):
                self._between_frames = True
                return reply, out
            if on_progress:
                on_progress(reply)

    def _died(self) -> WorkerDiedError:
        self.kill()
        return WorkerDiedError(
            "The toolchain's process ({python}) ended: {how}. The end of its log:\n{log}",
            hint="`glmlite doctor` shows whether that interpreter is complete.",
            python=self.python,
            how=_how_it_ended(self._process.returncode),
            log=self.log_tail() or "-",
        )

    def log_tail(self) -> str:
        """The last lines that the process printed."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _LOG_TAIL_BYTES))
        return self._log.read().decode("utf-8", errors="replace").strip()

    def kill(self) -> None:
        """End the process now."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Let the process finish by itself, else end it; a second call does nothing."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._log.close()


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
