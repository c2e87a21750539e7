"""Run a command: errors become sentences and exit codes, signals end it in order.

| exit code | means |
|---|---|
| 0 | done |
| 1 | a defect of glmlite; also, silently, an output that nobody reads any more |
| 2 | the user can do something about it |
| 130, 143 | ended by Ctrl-C, by SIGTERM; nothing half-written stays |
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from glmlite.cli import huge_pages
from glmlite.cli.streams import prepare_streams
from glmlite.errors import GlmliteError
from glmlite.i18n import _

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

# Longer than destructors take, shorter than anybody notices.
_DESTRUCTOR_SECONDS = 0.01


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    # An exception, so that every `finally` on the way removes what is half-written.
    raise SystemExit(128 + signum)


def _repeat_lost_signal(lost: UnraisableHookArgs) -> None:
    """Send a signal again whose exception was lost: Python drops those of destructors."""
    if isinstance(lost.exc_value, KeyboardInterrupt):
        number = signal.SIGINT
    elif isinstance(lost.exc_value, SystemExit) and lost.exc_value.code == 128 + signal.SIGTERM:
        number = signal.SIGTERM
    else:
        sys.__unraisablehook__(lost)
        return
    timer = threading.Timer(_DESTRUCTOR_SECONDS, _send_again, [number])
    timer.daemon = True
    timer.start()


def _send_again(number: signal.Signals) -> None:
    """To the main thread, whose waiting it ends; unless all is in order by now."""
    main = threading.main_thread().ident
    if main is None or not callable(signal.getsignal(number)):
        return
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main, number)
    else:  # Windows, where a signal of any thread wakes the main one
        signal.raise_signal(number)


def _debugging(arguments: list[str]) -> bool:
    asked = os.environ.get("GLMLITE_DEBUG", "").lower() not in ("", "0", "false", "no")
    return asked or "--debug" in arguments


def _say(message: str) -> None:
    click.echo(_("Error: {text}", text=message), err=True)


def _ending(error: BaseException | None) -> KeyboardInterrupt | SystemExit | None:
    """The signal that brought an error about: extensions and handlers raise others in its place."""
    while error is not None:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            return error
        error = error.__cause__ or error.__context__
    return None


def _interrupted() -> int:
    click.echo(_("Interrupted."), err=True)
    return 128 + signal.SIGINT


def _report(error: BaseException, debug: bool) -> int:
    """Tell the user about `error`; gives the exit code."""
    ending = _ending(error)
    if isinstance(ending, KeyboardInterrupt):
        return _interrupted()
    if ending is not None:
        raise ending
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if debug:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, GlmliteError):
        _say(str(error))
        return error.exit_code
    if isinstance(error, OSError):
        _say(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return 2
    if isinstance(error, MemoryError):
        _say(_("Not enough memory."))
        return 2
    _say(
        _("This is a defect of glmlite: {kind}: {text}", kind=type(error).__name__, text=str(error))
    )
    if not debug:
        click.echo(_("Run it again with --debug and report what it prints."), err=True)
    return 1


def execute(command: click.Command, name: str, arguments: list[str]) -> int:
    """Run `command` and give its exit code."""
    try:
        result = command.main(args=arguments, prog_name=name, standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.Abort as abort:
        # Click turns an EOFError into the same Abort as Ctrl-C; ours come from damaged files.
        if isinstance(abort.__cause__, EOFError):
            return _report(abort.__cause__, _debugging(arguments))
        return _interrupted()
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        return _report(error, _debugging(arguments))


def run(command: click.Command, name: str) -> NoReturn:
    """Run `command` with the process's arguments and end the process."""
    prepare_streams()
    sys.unraisablehook = _repeat_lost_signal
    signal.signal(signal.SIGTERM, _terminate)
    huge_pages.is_program = True
    answers_ctrl_c = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    try:
        if answers_ctrl_c:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = execute(command, name, sys.argv[1:])
    except KeyboardInterrupt:
        code = _interrupted()
    if answers_ctrl_c:
        # All is in order: the rest of the process may end in the middle, and without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)
