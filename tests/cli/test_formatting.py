"""Widths, wrapping, sizes, and text that cannot steer a terminal."""

from __future__ import annotations

import click
import pytest

from glmlite.cli.formatting import (
    WideHelpFormatter,
    display_width,
    format_bytes,
    printable,
    wrap,
)


@pytest.mark.parametrize(
    ("text", "columns"), [("abc", 3), ("你好", 4), ("a你。", 5), ("e\u0301", 1), ("", 0)]
)
def test_display_width(text, columns):
    assert display_width(text) == columns


@pytest.mark.parametrize("width", [20, 33, 78])
def test_wrapped_lines_fit_and_lose_nothing(width):
    text = "把训练好的检查点导出为模型包。用 MindSpore Lite 或 MindSpore 运行，在终端对话；" * 3
    lines = list(wrap(text, width))
    assert all(display_width(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert not any(line[0] in "，。；" for line in lines)


def test_english_breaks_at_spaces_only():
    assert list(wrap("one two  three", 8)) == ["one two", "three"]
    assert list(wrap("incomprehensibilities", 5)) == ["incomprehensibilities"]


def test_two_columns_are_aligned():
    formatter = WideHelpFormatter(width=40)
    formatter.write_dl([("--名字", "文本"), ("--x", "text")])
    first, second = formatter.getvalue().splitlines()
    assert display_width(first[: first.index("文")]) == second.index("text")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1024, "1 KiB"), (1_572_864, "1.5 MiB")]
)
def test_format_bytes(count, text):
    assert format_bytes(count) == text


def test_nothing_printable_steers_the_terminal():
    evil = "a\x1b[2Jb\x07\x9b31mc\rd\u202ee\n\tf"
    assert printable(evil) == "a[2Jb31mcde\n\tf"
    assert click.unstyle(printable(evil)) == printable(evil)
