"""Errors and signals become sentences and exit codes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import click
import pytest

from glmlite.cli.run import execute
from glmlite.errors import BundleError


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
