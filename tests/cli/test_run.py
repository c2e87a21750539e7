"""Errors and signals become sentences and exit codes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time

import click
import pytest

from glmlite.cli.output import telling_of
from glmlite.cli.run import _send_again, execute
from glmlite.errors import BundleError, GlmliteError


def failing(error: BaseException) -> click.Command:
    @click.command()
    @click.option("--debug", is_flag=True, expose_value=False)
    def command() -> None:
        raise error

    return command


@pytest.fixture(autouse=True)
def _no_debugging(monkeypatch):
    monkeypatch.delenv("GLMLITE_DEBUG", raising=False)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (
            BundleError("{path} is odd.", hint="Try {path}.", path="X"),
            2,
            "Error: X is odd.\nTry X.",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "F"), 2, "Error: F: No space left"),
        (MemoryError(), 2, "Not enough memory."),
        (ZeroDivisionError("by zero"), 1, "defect of glmlite: ZeroDivisionError: by zero"),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (EOFError("cut off"), 1, "defect of glmlite: EOFError: cut off"),
    ],
)
def test_an_error_is_a_sentence(capsys, error, code, text):
    assert execute(failing(error), "glmlite", []) == code
    shown = capsys.readouterr()
    assert text in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


def raise_in_its_place(cause: BaseException) -> click.Command:
    """What compiled packages do while they are imported."""

    @click.command()
    def command() -> None:
        try:
            raise cause
        except BaseException as error:
            raise ImportError("initialization failed") from error

    return command


def test_an_error_in_a_signals_place(capsys):
    assert execute(raise_in_its_place(KeyboardInterrupt()), "glmlite", []) == 130
    assert capsys.readouterr().err == "Interrupted.\n"
    with pytest.raises(SystemExit) as ended:
        execute(raise_in_its_place(SystemExit(143)), "glmlite", [])
    assert ended.value.code == 143


EARLY = """
import builtins, os, signal, sys
module = sys.argv.pop(1)
real = builtins.__import__
def pressed(name, *rest):
    if name == module:
        os.kill(os.getpid(), signal.SIGINT)
    return real(name, *rest)
builtins.__import__ = pressed
from glmlite.cli import main
main()
"""


@pytest.mark.parametrize("module", ["glmlite.cli.app", "click", "glmlite.i18n", "glmlite.cli.run"])
def test_ctrl_c_while_the_program_starts(environment, module):
    ran = subprocess.run(
        [sys.executable, "-c", EARLY, module, "--help"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


def test_ctrl_c_is_held_back_while_the_program_starts_again(environment):
    code = (
        "import os, signal, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'glmlite.cli', '--help'])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_standard_output_is_full(environment, demo_bundle, unbuffered, options):
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            [sys.executable, "-m", "glmlite.cli", "inspect", str(demo_bundle), *options],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment, "PYTHONUNBUFFERED": unbuffered},
            check=False,
        )
    assert ran.stderr == "Error: Standard output: No space left on device\n"
    assert ran.returncode == 2


@pytest.mark.parametrize(("unbuffered", "written"), [("", ""), ("1", "你好\n")])
def test_an_unbuffered_output_stays_so(environment, unbuffered, written):
    code = (
        "import os, sys\n"
        "from glmlite.cli.streams import name_standard_output\n"
        "name_standard_output()\n"
        "sys.stdout.write('你好\\n')\n"
        "os._exit(0)\n"  # nothing is flushed
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env={**environment, "PYTHONUNBUFFERED": unbuffered},
        check=False,
    )
    assert ran.stdout.decode() == written


def test_a_lost_report_does_not_hide_the_bundle():
    with pytest.raises(GlmliteError) as told, telling_of("build/x"):
        raise OSError(errno.ENOSPC, "No space left on device", "Standard output")
    assert str(told.value) == (
        "Standard output cannot be written: No space left on device.\n"
        "Only the report is lost; the bundle is complete: build/x"
    )
    with pytest.raises(BrokenPipeError), telling_of("build/x"):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_debug_shows_the_traceback(capsys, monkeypatch):
    command = failing(BundleError("It is odd."))
    assert execute(command, "glmlite", ["--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("GLMLITE_DEBUG", "1")
    assert execute(command, "glmlite", []) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("GLMLITE_DEBUG", "0")
    assert execute(command, "glmlite", []) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_nobody_reads_the_output(environment, demo_bundle):
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-m", "glmlite.cli", "inspect", str(demo_bundle)],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        check=False,
    )
    os.close(writer)
    assert result.stderr == ""
    assert result.returncode == 1


SLOW = """
import sys, time, pathlib
import click
from glmlite.cli.run import run

@click.command()
def command():
    try:
        print("started", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)

run(command, "glmlite")
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_let_everything_clean_up(environment, number, code):
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert out == "cleaned up\n"
    assert "Traceback" not in err
    assert process.returncode == code


LOST = """
import os, signal, sys, time, weakref
import click
from glmlite.cli.run import run

class Thing:
    pass

def die(_reference):
    os.kill(os.getpid(), signal.Signals[NAME])

@click.command()
def command():
    thing = Thing()
    reference = weakref.ref(thing, die)
    try:
        del thing
        print("went on", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)

NAME = sys.argv.pop()
run(command, "glmlite")
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_in_a_destructor_is_not_lost(environment, name, code):
    ran = subprocess.run(
        [sys.executable, "-c", LOST, name],
        capture_output=True,
        text=True,
        env=environment,
        timeout=20,
        check=False,
    )
    assert ran.stdout == "went on\ncleaned up\n"
    assert ran.stderr.split() == (["Interrupted."] if code == 130 else [])
    assert ran.returncode == code


def test_a_lost_signal_where_threads_cannot_be_signalled(monkeypatch):
    monkeypatch.delattr(signal, "pthread_kill", raising=False)
    sender = threading.Thread(target=_send_again, args=[signal.SIGINT])
    with pytest.raises(KeyboardInterrupt):
        wait_for(sender)


def wait_for(thread: threading.Thread) -> None:
    thread.start()
    thread.join()
    time.sleep(0.01)


def test_other_errors_in_destructors_are_shown(environment):
    code = (
        "import click\n"
        "from glmlite.cli.run import run\n"
        "class Thing:\n"
        "    def __del__(self): raise ValueError('odd')\n"
        "run(click.Command('x', callback=lambda: Thing() and None), 'x')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert "ValueError: odd" in ran.stderr
    assert ran.returncode == 0
