"""Which messages a session's ids stand for, so that the next turn appends to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Transcript:
    """One turn of a chat, and those before it.

    A reply's ids are those that the model generated: encoding its text again may give others, and
    then the cache behind them would be lost.

    Attributes:
        asked: the messages that the caller gave.
        rounds_dropped: how many of their oldest rounds the ids no longer hold.
        prompt: ids that stand for the rest of them.
        reply: the messages that the answer was read as.
        text: the answer as it was shown.
        answer: ids of the answer, without its stop token.
        previous: the turn before, for callers that take one back.
    """

    asked: Sequence[Message]
    rounds_dropped: int
    prompt: Sequence[int]
    reply: Sequence[Message]
    text: str
    answer: Sequence[int]
    previous: Transcript | None

    def find(self, messages: Sequence[Message]) -> tuple[Transcript, int] | None:
        """The newest turn that `messages` repeat or continue, and how many of them it knows.

        0 means that they repeat its question; otherwise they continue after its reply.
        """
        turn: Transcript | None = self
        while turn:
            if _same(messages, turn.asked):
                return turn, 0
            known = turn._known(messages)
            if known:
                return turn, known
            turn = turn.previous
        return None

    def _known(self, messages: Sequence[Message]) -> int:
        count = len(self.asked)
        shown = {"role": "assistant", "content": self.text}
        if _same(messages[:count], self.asked):
            for reply in (self.reply, [shown]):
                known = count + len(reply)
                if reply and known < len(messages) and _same(messages[count:known], reply):
                    return known
        return 0


def _same(left: Sequence[Message], right: Sequence[Message]) -> bool:
    return len(left) == len(right) and all(map(_same_message, left, right))


def _same_message(left: Message, right: Message) -> bool:
    """Missing metadata is empty metadata; a reply may have been trimmed."""

    def content(message: Message) -> object:
        text = message.get("content")
        trim = message.get("role") == "assistant" and isinstance(text, str)
        return text.strip() if trim and isinstance(text, str) else text

    return (
        left.get("role") == right.get("role")
        and content(left) == content(right)
        and (left.get("metadata") or "") == (right.get("metadata") or "")
        and left.get("tools") == right.get("tools")
    )
