"""The process that runs in the toolchain: answers one request after the other until its input ends.

Requests and answers are frames of `protocol.py` on the process's original standard input and output.
Everything that libraries print goes to standard error, which the parent keeps as the log.
"""

import ctypes
import os
import signal
import sys
import traceback

from . import protocol
from .errors import ToolchainError

_PR_SET_PDEATHSIG = 1


def _claim_streams():
    """Keep descriptors 0 and 1 for the protocol; libraries get /dev/null and the log instead."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return requests, answers


def _die_with_parent():
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Worker:
    """Holds at most one engine; every public method is a request of the same name."""

    def __init__(self, answers):
        self.answers = answers
        self.engine = None

    def probe(self, header, arrays):
        """What this interpreter has."""
        from .probe import probe

        return probe(), []

    def export(self, header, arrays):
        """Export graphs; frames {"progress": n} come before the answer."""
        from .exporter import export_graphs

        def report(count):
            protocol.send(self.answers, {"progress": count})

        return {"graphs": export_graphs(report=report, **header["job"])}, []

    def open(self, header, arrays):
        """Open a bundle's graphs."""
        from .engine import open_engine

        self.engine = open_engine(header["job"])
        return {"version": self.engine.backend.version}, []

    def new_cache(self, header, arrays):
        """Make a cache."""
        return {"cache": self.engine.new_cache()}, []

    def free_cache(self, header, arrays):
        """Forget a cache."""
        self.engine.free_cache(header["cache"])
        return {}, []

    def step(self, header, arrays):
        """Run one chunk."""
        return {}, [self.engine.step(header["cache"], arrays, header["score"])]

    requests = ("probe", "export", "open", "new_cache", "free_cache", "step")

    def answer(self, header, arrays):
        """Serve one request; errors become an answer too."""
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


def main():
    """Serve until the parent closes its end."""
    # Ctrl-C reaches the whole foreground group; what it means is the parent's to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with_parent()
    requests, answers = _claim_streams()
    worker = Worker(answers)
    while True:
        try:
            header, arrays = protocol.receive(requests)
        except protocol.ConnectionClosed:
            return
        worker.answer(header, arrays)
