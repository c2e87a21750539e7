"""The command line: one short module per command, loaded when it is called."""

from __future__ import annotations

# Like `glmlite` itself, this imports nothing that takes milliseconds: see `_begin`.
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_INTERRUPTED = 130


def main() -> NoReturn:
    """Run `glmlite`; installed as the console script of that name."""
    _begin()
    from glmlite.cli.app import glmlite
    from glmlite.cli.run import run

    run(glmlite, "glmlite")


def main_of_run_infer() -> NoReturn:
    """`run_infer`: the chat, or with MindFormers' flags what its run_infer_main.py does."""
    _begin()
    import sys

    from glmlite.cli.run import run
    from glmlite.cli.run_infer import choose_command

    run(choose_command(sys.argv[1:]), "run_infer")


def _begin() -> None:
    """Answer Ctrl-C from here on by ending at once, until `run` answers it in order.

    Until then there is nothing to put in order, and imports turn a KeyboardInterrupt into
    tracebacks and false errors.
    """
    try:
        import signal

        # A shell's background job ignores Ctrl-C, and still does.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _leave)
        # `huge_pages` holds it back while the program starts again.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    except KeyboardInterrupt:
        _leave()


def _leave(*_signal: object) -> NoReturn:
    os._exit(_INTERRUPTED)
