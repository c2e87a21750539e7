"""From sampled ids to the text that a caller sees: stop strings, and what is held back for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from glmlite.errors import ConfigError


class Detokenizer(Protocol):
    """What `glmlite.text.StreamingDetokenizer` does."""

    def push(self, token: int) -> str:
        """The text that `token` completes."""

    def flush(self) -> str:
        """What is held back."""


class TextFilter(Protocol):
    """What `glmlite.text.ReplyFilter` does."""

    def push(self, text: str) -> str:
        """What can be shown now that `text` has arrived."""

    def flush(self) -> str:
        """The rest."""


class StopStrings:
    """Cuts a stream of text before the stop string that is complete first.

    Text that may be the beginning of a stop string is held back until it is decided, so how the
    text is cut into pieces never shows in the result.

    Attributes:
        matched: a stop string was found; everything after it is ignored.

    Raises:
        ConfigError: a stop string is empty or no text.
    """

    def __init__(self, stop: str | Sequence[str]) -> None:
        self._stop = (
            (stop,) if isinstance(stop, str) or not isinstance(stop, Iterable) else (*stop,)
        )
        for text in self._stop:
            if not isinstance(text, str) or not text:
                raise ConfigError(
                    "A stop string is {found!r}; it must be text that is not empty.", found=text
                )
        self._held = ""
        self.matched = False

    def __bool__(self) -> bool:
        return bool(self._stop)

    def push(self, text: str) -> str:
        """The part of the text so far that is certain to come before any stop string."""
        if self.matched or not self._stop:
            return "" if self.matched else text
        held = self._held + text
        found = [(at + len(s), at) for s in self._stop if (at := held.find(s)) >= 0]
        if found:
            self.matched = True
            self._held = ""
            return held[: min(found)[1]]
        cut = len(held) - max(_overlap(held, s) for s in self._stop)
        self._held = held[cut:]
        return held[:cut]

    def flush(self) -> str:
        """What was held back, at the end of the text."""
        text, self._held = self._held, ""
        return text


class AnswerText:
    """The text of one answer, id by id.

    Args:
        detokenizer: None where the model has no tokenizer; then there is no text.
        stop: stop strings.
        view: turns the text into what a user should see of it.

    Attributes:
        raw: the text before `view`.
    """

    def __init__(
        self,
        detokenizer: Detokenizer | None = None,
        stop: str | Sequence[str] = (),
        view: TextFilter | None = None,
    ) -> None:
        self._detokenizer = detokenizer
        self._stop = StopStrings(stop)
        self._view = view
        self.raw = ""
        if self._stop and detokenizer is None:
            raise ConfigError("Stop strings need a tokenizer, and this bundle has none.")

    @property
    def stopped(self) -> bool:
        """A stop string was found."""
        return self._stop.matched

    def push(self, token: int) -> str:
        """The text that `token` adds."""
        if self._detokenizer is None:
            return ""
        return self._show(self._stop.push(self._detokenizer.push(token)))

    def flush(self) -> str:
        """The rest, at the end of the answer."""
        text = self._show(self._take_held())
        return text + self._view.flush() if self._view else text

    def is_complete(self) -> bool:
        """Whether the ids so far have been shown in full; asks for it end the answer."""
        return not self.stopped and not self._take_held()

    def _take_held(self) -> str:
        if self._detokenizer is None or self.stopped:
            return ""
        return self._stop.push(self._detokenizer.flush()) + self._stop.flush()

    def _show(self, text: str) -> str:
        self.raw += text
        return self._view.push(text) if self._view else text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`, but not all of it."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if stop.startswith(text[-length:]):
            return length
    return 0
