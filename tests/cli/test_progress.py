"""Progress: lines in a file, bars on a terminal."""

from __future__ import annotations

import io

import pytest

from glmlite.cli.progress import PlainProgress, format_amount
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
    progress.done()
    first, second = stream.getvalue().splitlines()
    assert first.endswith("s] Reading (1 MiB)")
    assert second.endswith("s] Thinking[2J")


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
