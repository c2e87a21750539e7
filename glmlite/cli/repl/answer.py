"""Show one answer while it is generated; Ctrl-C ends the answer, not the program."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

import click

from glmlite.cli.formatting import printable

if TYPE_CHECKING:
    from collections.abc import Generator

    from glmlite.cli.repl.conversation import Message
    from glmlite.runtime.generation import GenerationStats, Piece


@dataclasses.dataclass
class Answer:
    """What came of one question.

    Attributes:
        text: what was shown.
        tokens: ids of everything that was generated.
        finish_reason: "stop", "length", or "interrupted".
        stats: timings; None if it was interrupted.
        reply: the messages that a finished answer adds to the conversation.
    """

    text: str = ""
    tokens: list[int] = dataclasses.field(default_factory=list)
    finish_reason: str = "interrupted"
    stats: GenerationStats | None = None
    reply: tuple[Message, ...] = ()


class _Interrupts:
    """Counts Ctrl-C while it is the handler; the second is a KeyboardInterrupt as always.

    An engine must not be torn out of a step, so the first is only noted, and looked at between two
    tokens. A step that never ends can still be left with the second.
    """

    def __init__(self) -> None:
        self.count = 0

    def handle(self, signum: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt

    def __enter__(self) -> _Interrupts:
        self._previous = signal.signal(signal.SIGINT, self.handle)
        return self

    def __exit__(self, *_error: object) -> None:
        signal.signal(signal.SIGINT, self._previous)


def show_answer(pieces: Generator[Piece, None, None]) -> Answer:
    """Print pieces as they come, notices on stderr; the first Ctrl-C ends the answer, no more.

    Raises:
        KeyboardInterrupt: at the second Ctrl-C.
    """
    answer = Answer()
    with _Interrupts() as interrupts, contextlib.closing(pieces):
        try:
            for piece in pieces:
                _take(piece, answer)
                if interrupts.count:
                    break
        except KeyboardInterrupt:
            # A worker's step holds Ctrl-C back itself, and then raises.
            if interrupts.count:
                raise
    sys.stdout.write("\n")
    sys.stdout.flush()
    return answer


def _take(piece: Piece, answer: Answer) -> None:
    for notice in piece.notices:
        say(notice)
    answer.tokens.append(piece.token)
    answer.text += piece.text
    # What a model writes must not steer the terminal; a pipe gets it as it is.
    sys.stdout.write(printable(piece.text) if sys.stdout.isatty() else piece.text)
    sys.stdout.flush()
    if piece.finish_reason:
        answer.finish_reason = piece.finish_reason
        answer.stats, answer.reply = piece.stats, piece.reply


def say(text: str) -> None:
    """A remark of the program, dim, on stderr."""
    click.secho(printable(text), dim=True, err=True)
