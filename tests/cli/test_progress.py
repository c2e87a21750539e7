"""Progress: lines in a file, bars on a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from glmlite.cli.progress import BarProgress, PlainProgress, format_amount, show_progress
from tests.cli.terminal import Terminal

CODE = """
from glmlite.cli.progress import show_progress
with show_progress() as progress:
    progress.stage("Reading weights", 2048, "B")
    progress.advance(1024); progress.advance(1024)
    progress.stage("比较 graphs", 3, "graphs")
    progress.advance()
    progress.stage("unknown")
    {end}
"""


def test_one_line_per_stage():
    stream = io.StringIO()
    progress = PlainProgress(stream)
    progress.stage("Reading", 2**20, "B")
    progress.advance(5)
    progress.stage("Thinking\x1b[2J")
    progress.stage("Writing", 1, "graphs")
    progress.done()
    first, second, third = stream.getvalue().splitlines()
    assert first.endswith("s] Reading (1 MiB)")
    assert second.endswith("s] Thinking[2J")
    assert third.endswith("s] Writing")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((1024, "B", 2048), "1 KiB / 2 KiB"),
        ((3, "layers", 28), "3/28 layers"),
        ((3, "layers"), "3 layers"),
        ((3, ""), "3"),
    ],
)
def test_amounts(arguments, text):
    assert format_amount(*arguments) == text


def test_bars_on_a_terminal(environment):
    with Terminal(["-c", CODE.format(end="")], environment) as terminal:
        assert terminal.wait() == 0
    for text in ("Reading weights", "2 KiB / 2 KiB", "比较 graphs", "1/3 graphs", "unknown"):
        assert text in terminal.seen
    assert terminal.seen.count("✓") >= 3


def test_bars_give_the_cursor_back_when_it_fails(environment):
    with Terminal(["-c", CODE.format(end="raise SystemExit(3)")], environment) as terminal:
        assert terminal.wait() == 3
    assert terminal.seen.rfind("\x1b[?25h") > terminal.seen.rfind("\x1b[?25l")


@pytest.mark.parametrize("failing", ["write", "flush"])
def test_a_display_that_fails_disappears(monkeypatch, failing):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with show_progress() as progress:
        progress.stage("Reading")

        def fail(*_text: str) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(stream, failing, fail)
        progress.stage("Thinking")
        monkeypatch.undo()
        progress.stage("Writing")
        progress.advance()
    assert "Writing" not in stream.getvalue()


@pytest.mark.parametrize("failing", ["__init__", "stage", "advance", "done"])
def test_bars_that_fail_give_the_streams_back(monkeypatch, failing):
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    def fail(*_arguments: object) -> None:
        raise ValueError("odd")

    before = sys.stdout
    monkeypatch.setattr(sys, "stderr", Screen())
    monkeypatch.setattr(BarProgress, failing, fail)
    with show_progress() as progress:
        progress.stage("Reading", 2)
        progress.advance()
    assert sys.stdout is before


def test_ctrl_c_in_a_display_is_no_failure_of_it(monkeypatch):
    def press(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PlainProgress, "advance", press)
    with pytest.raises(KeyboardInterrupt), show_progress() as progress:
        progress.advance()


def test_no_standard_error_at_all(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with show_progress() as progress:
        progress.stage("Reading")
        progress.advance()
