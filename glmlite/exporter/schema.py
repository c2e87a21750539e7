"""Checks of single values in a recipe; every message names the key by its full path."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from glmlite.errors import ConfigError
from glmlite.exporter.recipes import resolve_path
from glmlite.finite import is_finite
from glmlite.i18n import _

MAX_TOKENS = 1 << 20


@dataclasses.dataclass(frozen=True)
class Where:
    """A key of a recipe, for messages: `model.rope.kind` in some file."""

    file: str
    key: str

    def child(self, name: str) -> Where:
        """The key below this one."""
        return Where(self.file, f"{self.key}.{name}" if self.key else name)

    def refuse(self, value: object, expected: str) -> NoReturn:
        """Raise the error for a value of the wrong kind; `expected` is translated text."""
        raise ConfigError(
            "{file}: {key} is {found}; it must be {expected}.",
            file=self.file,
            key=self.key,
            found=repr(value)[:80],
            expected=expected,
        )


def choice(where: Where, value: Any, known: Sequence[str]) -> str:
    """One of `known`."""
    if not isinstance(value, str) or value not in known:
        where.refuse(value, " | ".join(known))
    return value


def text(where: Where, value: Any) -> str:
    """A string that is not empty."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        where.refuse(value, _("a text that is not empty"))
    return value


def path(where: Where, value: Any) -> Path:
    """A path; see `resolve_path`."""
    if isinstance(value, Path):
        return value
    return resolve_path(text(where, value), where.key)


def whole(where: Where, value: Any, low: int = 1, high: int = MAX_TOKENS) -> int:
    """An integer in a range."""
    if type(value) is not int or not low <= value <= high:
        where.refuse(value, _("a whole number from {low} to {high}", low=low, high=high))
    return value


def sizes(where: Where, value: Any) -> tuple[int, ...]:
    """One size or several, ascending and each once."""
    if isinstance(value, (list, tuple)):
        if not 1 <= len(value) <= 16:
            where.refuse(value, _("one size or a list of at most 16"))
        return tuple(sorted({whole(where, item) for item in value}))
    return (whole(where, value),)


def positive(where: Where, value: Any) -> float:
    """A finite number above 0."""
    if type(value) not in (int, float) or not is_finite(value) or value <= 0:
        where.refuse(value, _("a number above 0"))
    return float(value)
