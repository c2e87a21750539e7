"""Fenced blocks of Markdown pages, and what a comment above them says about testing.

<!-- test: skip REASON -->     is not run; its `glmlite` commands are still parsed
<!-- test: toolchain -->       is run where there is a toolchain
<!-- test: output -->          is exactly what the block before it prints
<!-- test: toolchain output -->  the same, of a toolchain block
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

_FENCE = re.compile(r"```(\w*)")
_MARKER = re.compile(r"<!-- test: (.+?) -->")
_MARKERS = re.compile(r"skip \S.*|toolchain|output|toolchain output")
SHELL = ("bash", "console", "sh")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, its language, its text, and its marker ("" for none)."""

    where: str
    language: str
    text: str
    marker: str

    @property
    def is_code(self) -> bool:
        return self.language in (*SHELL, "python")

    @property
    def is_skipped(self) -> bool:
        return self.marker.startswith("skip ")

    @property
    def in_toolchain(self) -> bool:
        return self.marker.startswith("toolchain")

    @property
    def is_output(self) -> bool:
        return self.marker.endswith("output") and not self.is_skipped


def read_blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    blocks: list[Block] = []
    marker, language, start = "", None, 0
    inside: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if language is not None:
            if line == "```":
                text = "\n".join(inside) + "\n"
                blocks.append(Block(f"{page.name}:{start}", language, text, marker))
                marker, language, inside = "", None, []
            else:
                inside.append(line)
        elif fence := _FENCE.fullmatch(line):
            language, start = fence[1], number
        elif found := _MARKER.fullmatch(line):
            marker = found[1]
            assert _MARKERS.fullmatch(marker), f"{page.name}:{number}: unknown marker {marker!r}"
        elif line:
            assert not marker, f"{page.name}:{number}: a marker stands right above its block"
    assert language is None, f"{page.name}:{start}: the block has no end"
    return blocks


def without_fences(page: Path) -> str:
    """A page's prose: no blocks, no inline code."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "", text)


def without_comments(code: str) -> str:
    """Code without its comments, which are translated."""
    return re.sub(r"(^|\s+)#.*$", "", code, flags=re.M)
