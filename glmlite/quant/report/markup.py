"""HTML that cannot be broken by what is put into it."""

from __future__ import annotations

import html
import re

# Control characters, and marks that turn the direction of text round.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(text: str) -> Markup:
    """Plain text as HTML, also inside an attribute; control characters are removed."""
    return text if isinstance(text, Markup) else Markup(html.escape(_CONTROLS.sub("", text)))


def tag(name: str, *children: str, **attributes: str) -> Markup:
    """An element; children that are no `Markup` are escaped, and so is every attribute.

    Args:
        name: of the element.
        children: texts and elements.
        attributes: `class_` stands for class, and `aria_label` for aria-label.
    """
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
    )
    inside = join(*children)
    return Markup(f"<{name}{shown}>{inside}</{name}>")


def join(*parts: str) -> Markup:
    """Parts one after the other; those that are no `Markup` are escaped."""
    return Markup("".join(escape(part) for part in parts))


def table(heads: list[str], rows: list[list[str]], *, text_columns: int = 1) -> Markup:
    """A table whose first columns are text and whose others are numbers.

    Args:
        heads: of the columns.
        rows: cells, texts or elements.
        text_columns: how many columns are text.
    """

    def cells(kind: str, row: list[str]) -> Markup:
        return join(
            *(
                tag(kind, cell) if number < text_columns else tag(kind, cell, class_="number")
                for number, cell in enumerate(row)
            )
        )

    head = tag("thead", tag("tr", cells("th", heads)))
    body = tag("tbody", *(tag("tr", cells("td", row)) for row in rows))
    return tag("div", tag("table", head, body), class_="scroll")
