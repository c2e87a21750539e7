'''Lines and blocks of lines.

A turn is one line, everything between two """ marks, or a pasted prompt from `[Round 1]` to `答：`.
'''

from __future__ import annotations

from collections.abc import Iterable, Iterator

from glmlite.text.pasted import is_partial_template

MARK = '"""'


def is_open(text: str) -> bool:
    """Whether `text` begins a block or a pasted prompt and does not end it yet."""
    stripped = text.strip()
    if not stripped.startswith(MARK):
        return is_partial_template(text)
    return len(stripped) < 2 * len(MARK) or not stripped.endswith(MARK)


def unquote(text: str) -> str:
    """What was meant: `text` without the marks of a block, or without its line end."""
    stripped = text.strip()
    if stripped.startswith(MARK):
        return stripped[len(MARK) :].removesuffix(MARK).strip("\n")
    return text.rstrip("\n")


def split_turns(lines: Iterable[str]) -> Iterator[str]:
    """Turns of a text that comes line by line; a block that nobody ends goes to the last line.

    Files from Windows may begin with a byte order mark and end lines with two characters; neither
    belongs to a question.
    """
    turn = ""
    for i, line in enumerate(lines):
        plain = line.removeprefix("\ufeff") if i == 0 else line
        turn += f"{plain[:-2]}\n" if plain.endswith("\r\n") else plain
        if not is_open(turn):
            yield turn
            turn = ""
    if turn:
        yield turn
