"""What a generated reply says: the official `process_response` of ChatGLM2 and ChatGLM3."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from glmlite.text.tool_calls import parse_tool_call

# The models were trained to write this mark where the date of their training belongs.
_MARK, _MARK_VALUE = "[[训练时间]]", "2023年"
_MAX_HEADER = 64


@dataclasses.dataclass(frozen=True)
class ToolCall:
    """A turn whose first line names a tool.

    Attributes:
        name: the tool, or "interpreter".
        content: what follows the first line, as it was generated.
        parameters: the arguments, plain JSON data; None where no tools were offered, or where the
            content is no call that can be read safely.
    """

    name: str
    content: str
    parameters: dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Reply:
    """A finished reply.

    Attributes:
        messages: the assistant's turns, to be appended to the conversation (mostly one).
        text: what the last turn says, as a user should read it; a tool call's raw content.
        tool_call: the last turn's call, if it is one.
    """

    messages: tuple[dict[str, str], ...]
    text: str
    tool_call: ToolCall | None = None


class _Decoder(Protocol):
    def decode(self, ids: Iterable[int], show_special: bool = False) -> str:
        """Text of ids."""


def reply_text(reply: str | Sequence[int], decoder: _Decoder) -> str:
    """The text of a reply that is given as text or as ids."""
    return reply if isinstance(reply, str) else decoder.decode(reply)


def parse_plain(text: str) -> Reply:
    """A ChatGLM2 reply: text, with the white space around it dropped."""
    text = text.strip().replace(_MARK, _MARK_VALUE)
    return Reply(messages=({"role": "assistant", "content": text},), text=text)


def parse_with_header(parts: Sequence[str], has_tools: bool) -> Reply:
    """A ChatGLM3 reply: each turn has its metadata on the first line.

    Args:
        parts: the turns, at least one; what stood between them was <|assistant|>.
        has_tools: tools were offered, so a turn with metadata is read as a call.
    """
    messages = []
    text, tool_call = "", None
    for part in parts:
        metadata, newline, content = part.partition("\n")
        if not newline:
            metadata, content = "", part
        name = metadata.strip()
        if name:
            parameters = parse_tool_call(content) if has_tools else None
            text, tool_call = content, ToolCall(name, content, parameters)
        else:
            content = content.strip()
            text, tool_call = content.replace(_MARK, _MARK_VALUE), None
        messages.append({"role": "assistant", "metadata": metadata, "content": content})
    return Reply(messages=tuple(messages), text=text, tool_call=tool_call)


class ReplyFilter:
    """Streamed text as a user should see it; what `push` and `flush` return adds up.

    Drops ChatGLM3's empty first line and the white space around a reply, and fills in the training
    date: the sum is `Reply.text`. Of a tool call nothing is dropped.

    Args:
        has_header: the first line of a reply is metadata (ChatGLM3).
    """

    def __init__(self, has_header: bool) -> None:
        self._in_header = has_header
        self._raw = False
        self._started = False
        self._held = ""

    def push(self, text: str) -> str:
        """What can be shown now that `text` has arrived."""
        self._held += text
        if self._in_header and not self._end_header():
            return ""
        if self._raw:
            return self._take(len(self._held))
        self._held = self._held.replace(_MARK, _MARK_VALUE)
        if not self._started:
            self._held = self._held.lstrip()
        shown = min(len(self._held.rstrip()), len(self._held) - _partial_mark(self._held))
        return self._take(shown)

    def flush(self) -> str:
        """The rest, at the end of the reply."""
        text, self._held = self._held, ""
        if self._raw:
            return text
        text = text.rstrip().replace(_MARK, _MARK_VALUE)
        return text if self._started else text.lstrip()

    def _end_header(self) -> bool:
        header, newline, rest = self._held.partition("\n")
        if not newline and len(header) <= _MAX_HEADER:
            return False
        self._in_header = False
        if newline and not header.strip():
            self._held = rest
        elif newline:
            self._raw = True
        return True

    def _take(self, count: int) -> str:
        text, self._held = self._held[:count], self._held[count:]
        self._started = self._started or bool(text)
        return text


def _partial_mark(text: str) -> int:
    """Length of the longest end of `text` that may become the mark."""
    for length in range(min(len(_MARK) - 1, len(text)), 0, -1):
        if _MARK.startswith(text[-length:]):
            return length
    return 0
