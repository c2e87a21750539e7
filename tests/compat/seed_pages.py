"""MindFormers' own pages of GLM2 and GLM3: every block of code, and what becomes of it here."""

from __future__ import annotations

import dataclasses
import functools
import re
import textwrap
from pathlib import Path

import pytest

SEEDS = Path(__file__).parents[3] / "shared" / "seeds"
GLM2, EARLY, GLM3 = (f"mindformers_{name}.md" for name in ("glm2", "glm2_early", "glm3"))
_FENCE = re.compile(r"^( *)```(bash|shell|python|ini)\n(.*?)^\1```", flags=re.M | re.S)


@dataclasses.dataclass(frozen=True)
class PageBlock:
    """A block of a page: its language and its text without the list's indentation."""

    page: str
    language: str
    text: str


@functools.cache
def blocks(page: str) -> tuple[PageBlock, ...]:
    """The code of a page, in order; skips where the pages are not here."""
    path = SEEDS / page
    if not path.is_file():
        pytest.skip("MindFormers' pages (../shared/seeds) are not here")
    text = path.read_text(encoding="utf-8")
    return tuple(
        PageBlock(page, language, textwrap.dedent(body))
        for _indent, language, body in _FENCE.findall(text)
    )


def find(page: str, phrase: str) -> str:
    """The text of the one block of a page that holds a phrase."""
    (block,) = [b for b in blocks(page) if phrase in b.text]
    return block.text


def snippet(page: str, phrase: str) -> str:
    """A Python block with its import line changed, for a machine without an Ascend device.

    Where a block shows what it prints, that and the prompts before it are left out.
    """
    block = find(page, phrase)
    changed = re.sub(
        r"\bfrom (mindformers(\.\w+)*|mindspore) import\b", "from glmlite.compat import", block
    )
    assert changed != block
    changed = re.sub(r"^>>> ", "", changed, flags=re.M)
    changed = re.sub(r"^\[\{.*$", "", changed, flags=re.M)
    return changed.replace('device_target="Ascend"', 'device_target="CPU"')


def command(page: str, phrase: str, word: str) -> str:
    """A shell block with the words that name MindFormers' script replaced by one of ours."""
    block = find(page, phrase)
    changed = re.sub(rf"python [\w./]*{re.escape(phrase)}", word, block)
    assert changed != block
    return changed
