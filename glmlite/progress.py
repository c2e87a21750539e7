"""How long-running library code tells its caller how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the stages of one piece of work, in order."""

    def stage(self, title: str, total: float | None = None, unit: str = "") -> None:
        """Begin a stage (and end the one before); `total` None means of unknown length."""

    def advance(self, amount: float = 1.0) -> None:
        """The current stage went on by `amount` units."""

    def done(self) -> None:
        """All stages are over, successfully or not."""


class NoProgress:
    """Tells nobody."""

    def stage(self, title: str, total: float | None = None, unit: str = "") -> None:
        """See `Progress.stage`."""

    def advance(self, amount: float = 1.0) -> None:
        """See `Progress.advance`."""

    def done(self) -> None:
        """See `Progress.done`."""
