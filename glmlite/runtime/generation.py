"""The loop from a prompt to an answer, piece by piece."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Generator, Sequence
from typing import Any, Literal

from glmlite.i18n import _
from glmlite.runtime.answer_text import AnswerText
from glmlite.runtime.ranges import check_integer
from glmlite.runtime.sampling import Sampler
from glmlite.runtime.session import Session
from glmlite.runtime.sliding import Context
from glmlite.runtime.speculation import DraftPolicy, Lookahead, Speculate

FinishReason = Literal["stop", "length"]
MakeRoom = Callable[[list[int]], Context | None]


@dataclasses.dataclass(frozen=True)
class GenerationStats:
    """What an answer took. Times are in seconds and leave out what the caller did between pieces.

    Attributes:
        prompt_tokens: length of the prompt.
        reused_tokens: how many of them the cache already held.
        new_tokens: sampled tokens, a stop token included.
        prefill_seconds: feeding the prompt.
        decode_seconds: from the first token to the last.
        time_to_first_token: from the call to the first token.
        engine_seconds: inside the engine.
        host_seconds: everything else: sampling, text, bookkeeping.
        drafted_tokens: tokens that speculation proposed.
        held_tokens: how many of them the sampler chose.
    """

    prompt_tokens: int
    reused_tokens: int
    new_tokens: int
    prefill_seconds: float
    decode_seconds: float
    time_to_first_token: float
    engine_seconds: float
    host_seconds: float
    drafted_tokens: int = 0
    held_tokens: int = 0

    @property
    def tokens_per_second(self) -> float:
        """Speed of decoding: tokens after the first; 0 where there is only one."""
        return (self.new_tokens - 1) / self.decode_seconds if self.decode_seconds > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, `tokens_per_second` included."""
        return {**dataclasses.asdict(self), "tokens_per_second": self.tokens_per_second}


@dataclasses.dataclass(frozen=True)
class Piece:
    """One step of an answer.

    Attributes:
        text: what the step adds; may be empty (half a character, no tokenizer).
        token: the sampled id.
        finish_reason: on the last piece: "stop" (a stop token, which is then `token`, or a stop
            string) or "length" (`max_new_tokens`, or a full cache, which a notice says).
        stats: on the last piece.
        notices: sentences for the user, e.g. that old rounds were dropped.
        reply: on the last piece of a chat: the messages to append to the history.
    """

    text: str
    token: int
    finish_reason: FinishReason | None = None
    stats: GenerationStats | None = None
    notices: tuple[str, ...] = ()
    reply: tuple[dict[str, str], ...] = ()


class _Stopwatch:
    """Running time without the pauses."""

    def __init__(self) -> None:
        self._before = 0.0
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        return self._before + time.perf_counter() - self._started

    def pause(self) -> None:
        self._before = self.seconds

    def resume(self) -> None:
        self._started = time.perf_counter()


def generate(
    session: Session,
    prompt: Sequence[int],
    *,
    sampler: Sampler,
    max_new_tokens: int,
    stop_ids: Collection[int] = (),
    output: AnswerText | None = None,
    make_room: MakeRoom | None = None,
    notices: tuple[str, ...] = (),
    speculate: Speculate = "off",
    policy: DraftPolicy | None = None,
) -> Generator[Piece, None, None]:
    """Answer a prompt.

    The session keeps the prompt and every token but the last, whether the answer ends by itself, is
    closed early or is interrupted.

    Args:
        session: its cache is brought to hold the prompt; what it already holds of it is kept.
        prompt: ids, at least one.
        sampler: chooses the tokens.
        max_new_tokens: at most so many tokens are sampled, at least 1.
        stop_ids: ids that end the answer and have no text.
        output: turns ids into text; default: no text.
        make_room: called with the answer so far when the cache is full; gives what it should hold
            instead, or None where nothing can be dropped: then the answer ends and a notice says
            so. Without it a full cache is an error.
        notices: sentences for the first piece.
        speculate: "off", "auto" or the length of every draft; see `speculation`.
        policy: what drafts have cost and brought so far; changed.

    Raises:
        CacheFullError: the prompt, or the answer without `make_room`, does not fit.
        EngineError: the engine failed.
        ConfigError: an argument is out of its range, or the session is in use.
    """
    check_integer("max_new_tokens", max_new_tokens, 1)
    output = output or AnswerText()
    with session.exclusive():
        watch = _Stopwatch()
        engine_before = session.engine_seconds
        reused = session.reusable(prompt)
        logits = session.sync(prompt)
        prefill = watch.seconds
        lookahead = Lookahead(session, speculate, policy)
        first = 0.0
        answer: list[int] = []
        while True:
            prompt_length = max(len(session) - len(answer), 0)
            token = sampler.sample(logits, session.history, prompt_length)
            answer.append(token)
            first = first or watch.seconds
            text = "" if token in stop_ids else output.push(token)
            reason: FinishReason | None = None
            context: Context | None = None
            if token in stop_ids or output.stopped:
                reason = "stop"
            elif len(answer) == max_new_tokens:
                reason = "length"
            elif make_room and not session.room:
                context = make_room(answer)
                if context:
                    notices += (context.notice,)
                else:
                    reason = "length"
                    notices += (
                        _(
                            "The cache of {capacity} tokens is full and there is no old round to "
                            "drop: the answer ends here.",
                            capacity=session.capacity,
                        ),
                    )
            stats = None
            if reason:
                text += output.flush()
                total = watch.seconds
                engine = session.engine_seconds - engine_before
                stats = GenerationStats(
                    prompt_tokens=len(prompt),
                    reused_tokens=reused,
                    new_tokens=len(answer),
                    prefill_seconds=prefill,
                    decode_seconds=total - first,
                    time_to_first_token=first,
                    engine_seconds=engine,
                    host_seconds=total - engine,
                    drafted_tokens=lookahead.drafted,
                    held_tokens=lookahead.held,
                )
            watch.pause()
            yield Piece(text, token, reason, stats, notices)
            watch.resume()
            if reason:
                return
            notices = ()
            if context:
                logits = session.sync(context.ids)
            else:
                logits = lookahead.after(token, max_new_tokens - len(answer))
