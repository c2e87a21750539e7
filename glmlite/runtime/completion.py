"""Continuing a text or ids without a chat template."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from glmlite.i18n import _
from glmlite.runtime.answer_text import AnswerText
from glmlite.runtime.generation import Piece, generate
from glmlite.runtime.sampling import Sampler
from glmlite.runtime.session import Overflow, Session
from glmlite.runtime.sliding import Context, drop_oldest_tokens, length_after_dropping
from glmlite.runtime.speculation import DraftPolicy, Speculate
from glmlite.text import StreamingDetokenizer

if TYPE_CHECKING:
    from glmlite.text import Tokenizer


def complete(
    session: Session,
    prompt: Sequence[int],
    *,
    tokenizer: Tokenizer | None,
    sampler: Sampler,
    max_new_tokens: int,
    stop: str | Sequence[str] = (),
    overflow: Overflow = "error",
    speculate: Speculate = "off",
    policy: DraftPolicy | None = None,
) -> Generator[Piece, None, None]:
    """Continue `prompt`.

    Args:
        session: its cache keeps what it has in common with the prompt.
        prompt: ids.
        tokenizer: None: pieces have ids and no text, and nothing but the length ends the answer.
        sampler: chooses the tokens.
        max_new_tokens: at most so many are sampled.
        stop: stop strings.
        overflow: "sliding" drops the oldest tokens when the cache is full, and says so; [gMASK] sop
            at the beginning stay.
        speculate: see `generation.generate`.
        policy: what drafts have cost and brought so far; changed.

    Yields:
        Pieces; the text of the prompt followed by theirs is what the tokenizer decodes.

    Raises:
        CacheFullError, EngineError, ConfigError: as in `generate`.
    """
    prompt = list(prompt)
    notices: tuple[str, ...] = ()
    prefix = list(tokenizer.prefix_ids) if tokenizer else []
    pinned = len(prefix) if prompt[: len(prefix)] == prefix else 0

    def drop(ids: Sequence[int]) -> Context:
        kept = drop_oldest_tokens(ids, pinned, length_after_dropping(session.capacity))
        notice = _(
            "The cache of {capacity} tokens is full; tokens dropped, the oldest first: {count}.",
            capacity=session.capacity,
            count=len(ids) - len(kept),
        )
        return Context(kept, notice)

    sliding = overflow == "sliding"
    if sliding and len(prompt) > session.capacity:
        context = drop(prompt)
        prompt, notices = context.ids, (context.notice,)
    yield from generate(
        session,
        prompt,
        sampler=sampler,
        max_new_tokens=max_new_tokens,
        stop_ids=tokenizer.stop_ids if tokenizer else (),
        output=_answer_text(tokenizer, prompt, stop),
        make_room=(lambda answer: drop([*session.tokens, answer[-1]])) if sliding else None,
        notices=notices,
        speculate=speculate,
        policy=policy,
    )


def _answer_text(
    tokenizer: Tokenizer | None, prompt: Sequence[int], stop: str | Sequence[str]
) -> AnswerText:
    """The detokenizer has seen the prompt: a space between prompt and answer is not lost."""
    if tokenizer is None:
        return AnswerText(None, stop)
    detokenizer = StreamingDetokenizer(tokenizer)
    for token in prompt:
        detokenizer.push(token)
    return AnswerText(detokenizer, stop)
