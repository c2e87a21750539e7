"""Saved conversations: a JSON list of messages, written whole or not at all, read with distrust."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from glmlite.cli.repl.conversation import Message
from glmlite.errors import ConfigError, TokenizerError
from glmlite.regular_file import read_regular
from glmlite.text.messages import check_messages

MAX_BYTES = 16 * 2**20


def save_messages(path: Path, messages: Sequence[Message]) -> None:
    """Write `messages` to `path`: complete or not at all, readable by the owner.

    Raises:
        ConfigError: `path` exists and is no saved conversation (it would be lost), or cannot be
            written.
    """
    if path.exists():
        try:
            load_messages(path)
        except ConfigError as error:
            raise ConfigError(
                "{path} exists and is no saved conversation; it was left alone.",
                hint="Choose another name.",
                path=str(path),
            ) from error
    text = json.dumps(list(messages), ensure_ascii=False, indent=2) + "\n"
    try:
        _write(path, text)
    except OSError as error:
        raise ConfigError(
            "{path} cannot be written: {error}", path=str(path), error=error.strerror or str(error)
        ) from error


def _write(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def load_messages(path: Path) -> list[Message]:
    """Read what `save_messages` wrote.

    Raises:
        ConfigError: it cannot be read, or anything else is in the file; nothing of it is used then.
    """
    try:
        content = _read(path)
    except OSError as error:
        raise ConfigError(
            "{file} cannot be read: {reason}.", file=str(path), reason=error.strerror or str(error)
        ) from error
    try:
        data = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError("{path} is not valid JSON.", path=str(path)) from error
    try:
        check_messages(data)
    except TokenizerError as error:
        raise ConfigError(
            "{path} is no saved conversation: {problem}", path=str(path), problem=str(error)
        ) from error
    messages: list[Message] = data
    return messages


def _read(path: Path) -> bytes:
    content = read_regular(path, MAX_BYTES)
    if len(content) > MAX_BYTES:
        raise ConfigError(
            "{path} is larger than {limit} bytes, too large for a saved conversation.",
            path=str(path),
            limit=MAX_BYTES,
        )
    return content
