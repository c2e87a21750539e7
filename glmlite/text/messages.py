"""Messages of a conversation, checked before anything is made of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from glmlite.errors import TokenizerError
from glmlite.i18n import _
from glmlite.text.vocabulary import find_surrogate

Message = Mapping[str, Any]
ROLES = ("system", "user", "assistant", "observation")
_KEYS = ("role", "content", "metadata", "tools")
_MAX_SHOWN = 40
_MAX_DEPTH = 64


@dataclasses.dataclass(frozen=True)
class Turn:
    """One message that passed `check_messages`.

    Attributes:
        role: one of `ROLES`.
        content: its text; a system message's tools are appended as the official code does.
        metadata: one line, a tool's name or "".
        has_tools: it offers tools.
    """

    role: str
    content: str
    metadata: str = ""
    has_tools: bool = False


def check_messages(messages: Sequence[Message]) -> list[Turn]:
    """Check every message and give it back as a `Turn`.

    Raises:
        TokenizerError: names the first message (counted from 1) that is wrong, and how.
    """
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence):
        raise TokenizerError(
            "Messages must be a list of mappings, not {found}.",
            hint='For example: [{{"role": "user", "content": "你好"}}]',
            found=type(messages).__name__,
        )
    return [_check_message(index, message) for index, message in enumerate(messages, 1)]


def _check_message(index: int, message: object) -> Turn:
    if not isinstance(message, Mapping):
        raise TokenizerError(
            'Message {index} must be a mapping with "role" and "content", not {found}.',
            index=index,
            found=type(message).__name__,
        )
    unknown = [key for key in message if key not in _KEYS]
    if unknown:
        raise TokenizerError(
            "Message {index} has an unknown key {found}; known keys: {known}.",
            index=index,
            found=_shown(unknown[0]),
            known=", ".join(_KEYS),
        )
    for key in ("role", "content"):
        if key not in message:
            raise TokenizerError('Message {index} has no "{key}".', index=index, key=key)
    role = message["role"]
    if not isinstance(role, str) or role not in ROLES:
        raise TokenizerError(
            "Message {index} has the role {found}; known roles: {known}.",
            index=index,
            found=_shown(role),
            known=", ".join(ROLES),
        )
    content = _check_text(index, "content", message["content"])
    metadata = message.get("metadata")
    metadata = "" if metadata is None else _check_text(index, "metadata", metadata)
    if "\n" in metadata:
        raise TokenizerError("Message {index}: metadata must be a single line.", index=index)
    # A model can write NUL, and a conversation must survive its own reply; nobody else may.
    if role != "assistant" and "\0" in content + metadata:
        raise TokenizerError("Message {index} contains a NUL character.", index=index)
    tools = message.get("tools")
    if tools is None:
        return Turn(role, content, metadata)
    if role != "system":
        raise TokenizerError(
            "Message {index} is a {role} message with tools; only a system message offers tools.",
            index=index,
            role=role,
        )
    content = _check_text(index, "tools", f"{content}\n{_tools_json(index, tools)}")
    return Turn(role, content, metadata, has_tools=True)


def _check_text(index: int, key: str, value: object) -> str:
    if not isinstance(value, str):
        raise TokenizerError(
            'Message {index}: "{key}" must be text, not {found}.',
            index=index,
            key=key,
            found=type(value).__name__,
        )
    position = find_surrogate(value)
    if position is not None:
        raise TokenizerError(
            'Message {index}: character {position} of "{key}" is half a surrogate pair, which is '
            "no valid Unicode.",
            index=index,
            position=position + 1,
            key=key,
        )
    return value


def _tools_json(index: int, tools: object) -> str:
    if not isinstance(tools, list):
        raise TokenizerError(
            "Message {index}: tools must be a list, not {found}.",
            index=index,
            found=type(tools).__name__,
        )
    # Not left to Python's recursion limit: other libraries of the process raise it.
    if _is_deeper(tools, _MAX_DEPTH):
        raise TokenizerError(
            "Message {index}: tools cannot be written as JSON ({reason}).",
            index=index,
            reason=_("nested more than {limit} levels deep", limit=_MAX_DEPTH),
        )
    try:
        return json.dumps(tools, indent=4, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TokenizerError(
            "Message {index}: tools cannot be written as JSON ({reason}).",
            index=index,
            reason=str(error),
        ) from error


def _is_deeper(value: object, limit: int) -> bool:
    """Whether lists and dicts are nested in `value` more than `limit` levels deep."""
    level = [value]
    for _level in range(limit):
        children: list[object] = []
        for item in level:
            if isinstance(item, dict):
                children += item.values()
            elif isinstance(item, (list, tuple)):
                children += item
        if not children:
            return False
        level = children
    return any(isinstance(item, (dict, list, tuple)) for item in level)


def _shown(value: object) -> str:
    text = ascii(value) if not isinstance(value, str) or not value.isprintable() else repr(value)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."
