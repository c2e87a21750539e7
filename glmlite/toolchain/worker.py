"""The process that runs in the toolchain: answers one request after the other until its input ends.

Requests and answers are frames of `protocol.py` on the process's original standard input and
output. Everything that libraries print goes to standard error, which the parent keeps as the log.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

from . import protocol
from .errors import ToolchainError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from io import BufferedIOBase, BufferedReader, BufferedWriter

    from numpy.typing import NDArray

    from .engine import GraphEngine
    from .in_graph_cache import InGraphEngine
    from .resident import ResidentEngine

    Engine = GraphEngine | InGraphEngine | ResidentEngine
    Header = Mapping[str, Any]
    Arrays = Sequence[NDArray[Any]]
    Reply = tuple[Mapping[str, Any], Arrays]

_WATCH_SECONDS = 1.0


def _claim_streams() -> tuple[BufferedReader, BufferedWriter]:
    """Keep descriptors 0 and 1 for the protocol; libraries get /dev/null and the log instead."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return requests, answers


def _end_with_parent(parent: int) -> None:
    """Watch for the parent's death: an idle worker sees its input end, a busy one does not.

    The kernel's parent-death signal would not do: it follows the thread that started the worker.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Worker:
    """Holds at most one engine; the methods in `requests` are the requests of the same name.

    Each takes the frame's header and arrays, and returns those of its answer.

    Args:
        answers: the stream that answers are written to.
    """

    def __init__(self, answers: BufferedIOBase) -> None:
        self.answers = answers
        self.engine: Engine | None = None

    def _opened(self) -> Engine:
        if self.engine is None:
            raise RuntimeError("no bundle is open")
        return self.engine

    def probe(self, header: Header, arrays: Arrays) -> Reply:
        """What this interpreter has."""
        from .probe import probe

        return probe(), []

    def export(self, header: Header, arrays: Arrays) -> Reply:
        """Export graphs; frames {"progress": n} come before the answer."""
        from .exporter import export_graphs

        def report(count: int) -> None:
            protocol.send(self.answers, {"progress": count})

        try:
            return {"graphs": export_graphs(report=report, **header["job"])}, []
        except OSError as error:
            raise ToolchainError(
                "The graphs could not be written: {error}. Nothing was kept.",
                hint="Free some space or name another --output.",
                error=error.strerror or str(error),
            ) from error

    def merge_checkpoint(self, header: Header, arrays: Arrays) -> Reply:
        """Merge the shards of a checkpoint; frames {"progress": bytes} come before the answer."""
        from .merge_checkpoint import merge_checkpoint

        def report(count: int) -> None:
            protocol.send(self.answers, {"progress": count})

        merge_checkpoint(report=report, **header["job"])
        return {}, []

    def open(self, header: Header, arrays: Arrays) -> Reply:
        """Open a bundle's graphs."""
        from .engine import open_engine

        self.engine = engine = open_engine(header["job"])
        return {"version": engine.backend.version}, []

    def new_cache(self, header: Header, arrays: Arrays) -> Reply:
        """Make a cache."""
        return {"cache": self._opened().new_cache()}, []

    def free_cache(self, header: Header, arrays: Arrays) -> Reply:
        """Forget a cache."""
        self._opened().free_cache(header["cache"])
        return {}, []

    def step(self, header: Header, arrays: Arrays) -> Reply:
        """Run one chunk."""
        return {}, [self._opened().step(header["cache"], arrays, header["score"])]

    requests = ("probe", "export", "merge_checkpoint", "open", "new_cache", "free_cache", "step")

    def answer(self, header: Header, arrays: Arrays) -> None:
        """Serve one request; errors become an answer too."""
        reply: Mapping[str, Any]
        out: Arrays
        try:
            if header.get("request") not in self.requests:
                raise ToolchainError("Unknown request {name}.", name=str(header.get("request")))
            reply, out = getattr(self, header["request"])(header, arrays)
        except ToolchainError as error:
            reply, out = {"error": error.to_dict()}, []
        except Exception as error:
            traceback.print_exc()
            failure = ToolchainError(
                "The toolchain failed: {error}", error="%s: %s" % (type(error).__name__, error)
            )
            reply, out = {"error": failure.to_dict()}, []
        protocol.send(self.answers, dict(reply, done=True), out)


def main() -> None:
    """Serve until the parent closes its end."""
    # Ctrl-C reaches the whole foreground group; what it means is the parent's to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent(int(os.environ.get("GLMLITE_WORKER_PARENT", os.getppid())))
    requests, answers = _claim_streams()
    worker = Worker(answers)
    while True:
        try:
            header, arrays = protocol.receive(requests)
        except protocol.ConnectionClosedError:
            return
        worker.answer(header, arrays)
