"""What has been said so far, and how commands change it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

Message = dict[str, Any]


class Conversation:
    """The messages of one chat, in the form that `Model.chat` takes.

    A round is a user's message and everything up to the next one.
    """

    def __init__(self, messages: Iterable[Mapping[str, Any]] = ()) -> None:
        self.messages: list[Message] = [dict(message) for message in messages]

    @property
    def rounds(self) -> int:
        """How many times the user has spoken."""
        return sum(message["role"] == "user" for message in self.messages)

    @property
    def system(self) -> str:
        """The system message's text, empty where there is none."""
        first = self.messages[0] if self.messages else {}
        return str(first["content"]) if first.get("role") == "system" else ""

    def snapshot(self) -> list[Message]:
        """A copy of the messages that later changes do not reach."""
        return copy.deepcopy(self.messages)

    def ask(self, text: str) -> None:
        """Append a user's message."""
        self.messages.append({"role": "user", "content": text})

    def undo(self) -> bool:
        """Forget the last round; False where there is none."""
        start = self._last_question()
        if start is None:
            return False
        del self.messages[start:]
        return True

    def retry(self) -> bool:
        """Forget what came after the last question; False where there is none."""
        start = self._last_question()
        if start is None:
            return False
        del self.messages[start + 1 :]
        return True

    def clear(self) -> None:
        """Forget all rounds; the system message stays."""
        self.messages = [m for m in self.messages[:1] if m["role"] == "system"]

    def set_system(self, text: str) -> None:
        """Set the system message, or remove it with an empty text; the rounds stay."""
        rest = [message for message in self.messages if message["role"] != "system"]
        head: list[Message] = [{"role": "system", "content": text}] if text else []
        self.messages = head + rest

    def _last_question(self) -> int | None:
        for index in reversed(range(len(self.messages))):
            if self.messages[index]["role"] == "user":
                return index
        return None
