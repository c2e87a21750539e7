"""Text that fits the terminal: display width, wrapping, sizes, and no control characters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

import click

# A run of narrow characters stays together; wide characters may be broken between any two, except
# that punctuation sticks to what precedes it (no line begins with a full stop).
_ATOMS = re.compile(r"\s+|[\u2e80-\u9fff][，。、；：！？）》”]*|[^\s\u2e80-\u9fff]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """`text` without control characters and direction overrides: safe to show on a terminal."""
    return _CONTROLS.sub("", text)


def display_width(text: str) -> int:
    """Columns that `text` takes on a terminal."""
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def wrap(text: str, width: int) -> Iterator[str]:
    """Break one paragraph into lines of at most `width` columns."""
    line, used, gap = "", 0, 0
    for atom in _ATOMS.findall(text.strip()):
        if atom.isspace():
            gap = 1
            continue
        size = display_width(atom)
        if line and used + gap + size > width:
            yield line
            line, used, gap = "", 0, 0
        if not line:
            gap = 0
        line, used, gap = line + " " * gap + atom, used + gap + size, 0
    if line:
        yield line


class WideHelpFormatter(click.HelpFormatter):
    """Click's formatter, with Chinese text counted two columns a character."""

    def write_text(self, text: str) -> None:
        """Write paragraphs, wrapped."""
        width = max(self.width - self.current_indent, 20)
        paragraphs = re.split(r"\n\s*\n", text.strip())
        for number, paragraph in enumerate(paragraphs):
            if number:
                self.write("\n")
            for line in wrap(paragraph, width):
                self.write(f"{'':>{self.current_indent}}{line}\n")

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Write a list of terms and their descriptions in two columns."""
        rows = list(rows)
        longest = max((display_width(term) for term, _text in rows), default=0)
        column = min(longest, col_max) + col_spacing
        width = max(self.width - self.current_indent - column, 20)
        for term, text in rows:
            lines = list(wrap(text, width))
            head = f"{'':>{self.current_indent}}{term}"
            room = column - display_width(term)
            if lines and room >= col_spacing:
                self.write(f"{head}{'':>{room}}{lines.pop(0)}\n")
            else:
                self.write(f"{head}\n")
            for line in lines:
                self.write(f"{'':>{self.current_indent + column}}{line}\n")


def format_bytes(count: float) -> str:
    """`count` bytes in binary units, three digits: "1.46 GiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"
