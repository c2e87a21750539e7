"""Checks of what was passed to the library's functions by keyword, before any work is done."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from pathlib import Path

from glmlite.errors import ConfigError


def check_keywords(given: Iterable[str], known: Sequence[str]) -> None:
    """Refuse names that a function does not know.

    Args:
        given: the keywords of a call.
        known: those that there are.

    Raises:
        ConfigError: shows the first that is unknown, and the one nearest to it.
    """
    for name in given:
        if name not in known:
            raise ConfigError(
                "There is no option {name!r}; did you mean {nearest}?",
                name=name,
                nearest=max(known, key=lambda k: SequenceMatcher(None, k, name).ratio()),
            )


def check_path(name: str, value: object) -> Path:
    """A path as it was passed; `~` is the user's home.

    An empty text is refused: it would be the current folder, or pass for nothing at all.

    Args:
        name: of the keyword, for messages.
        value: a str or an `os.PathLike`.

    Raises:
        ConfigError: it is something else.
    """
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigError("{name} is {found!r}; it must be a path.", name=name, found=value)
    # Path.expanduser fails where there is no such user; the file may be called so.
    return Path(os.path.expanduser(text))


def check_flag(name: str, value: object) -> bool:
    """`value`, if it is True or False: the text "no" would be as true as any.

    Raises:
        ConfigError: it is neither; the message shows the name and the value.
    """
    if not isinstance(value, bool):
        raise ConfigError("{name} is {found!r}; it must be True or False.", name=name, found=value)
    return value
