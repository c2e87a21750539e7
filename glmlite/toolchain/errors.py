"""The one error that crosses the process boundary."""

from __future__ import annotations

from typing import Any


class ToolchainError(Exception):
    """What went wrong, as a literal template and its values, so that the parent can translate it.

    Args:
        message: English sentence with `{placeholders}`.
        hint: the next step, in the same form.
        **params: plain JSON values for the placeholders.
    """

    def __init__(self, message: str, *, hint: str = "", **params: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.params = params

    def __str__(self) -> str:
        return (self.message + (" " + self.hint if self.hint else "")).format(**self.params)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a frame."""
        return {"message": self.message, "hint": self.hint, "params": self.params}


def first_words(error: Exception) -> str:
    """What a backend says, without the C++ stack that MindSpore adds behind a line of dashes."""
    return str(error).split("\n----", 1)[0].strip()[:2000]
