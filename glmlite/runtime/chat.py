"""A conversation's next reply: messages in, pieces out, the cache reused across turns."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from glmlite.i18n import _
from glmlite.runtime.answer_text import AnswerText
from glmlite.runtime.generation import Piece, generate
from glmlite.runtime.sampling import Sampler
from glmlite.runtime.session import Overflow, Session
from glmlite.runtime.sliding import Context, Message, drop_oldest_round, length_after_dropping
from glmlite.runtime.speculation import DraftPolicy, Speculate
from glmlite.runtime.transcript import Transcript
from glmlite.text import StreamingDetokenizer
from glmlite.text.messages import check_messages

if TYPE_CHECKING:
    from glmlite.text import PromptTemplate, Tokenizer


class ChatPrompt:
    """Ids that ask for the reply to `messages`, made from what the session remembers.

    Args:
        template: of the model's family.
        messages: the whole conversation.
        session: whose cache will hold the prompt.

    Attributes:
        asked: a copy of the messages.
        ids: the prompt.
        rounds_dropped: how many of the oldest rounds the prompt leaves out.
        earlier: the turn before this one.

    Raises:
        TokenizerError: the messages cannot be rendered.
    """

    def __init__(
        self, template: PromptTemplate, messages: Sequence[Message], session: Session
    ) -> None:
        check_messages(messages)
        self._template = template
        self._capacity = session.capacity
        self.asked: Sequence[Message] = copy.deepcopy(list(messages))
        self._kept = self.asked
        self.rounds_dropped = 0
        self.earlier: Transcript | None = None
        found = session.transcript.find(self.asked) if session.transcript else None
        if found is None:
            self.ids = template.chat_ids(self.asked)
            return
        turn, known = found
        self.rounds_dropped = turn.rounds_dropped
        for _round in range(turn.rounds_dropped):
            self._kept = drop_oldest_round(self._kept) or self._kept
        if known:
            self.earlier = turn
            known -= len(self.asked) - len(self._kept)
            new_ids = template.continuation_ids(self._kept, known)
            self.ids = [*turn.prompt, *turn.answer, *new_ids]
        else:
            self.earlier = turn.previous
            self.ids = list(turn.prompt)

    def fit(self) -> tuple[str, ...]:
        """Drop the oldest rounds if the prompt is longer than the cache; the notices for that."""
        if len(self.ids) <= self._capacity:
            return ()
        context = self.make_room([])
        return (context.notice,) if context else ()

    def make_room(self, answer: list[int]) -> Context | None:
        """Drop the oldest rounds until prompt and answer leave room; None where they cannot."""
        kept, ids, count = self._kept, self.ids, 0
        goal = length_after_dropping(self._capacity)
        while not count or len(ids) + len(answer) > goal:
            shorter = drop_oldest_round(kept)
            if shorter is None:
                break
            kept, ids, count = shorter, self._template.chat_ids(shorter), count + 1
        if not count or len(ids) + len(answer) > self._capacity:
            return None
        self._kept, self.ids = kept, ids
        self.rounds_dropped += count
        notice = _(
            "The cache of {capacity} tokens is full; rounds dropped, the oldest first: {count}.",
            capacity=self._capacity,
            count=count,
        )
        return Context([*ids, *answer], notice)


def chat(
    session: Session,
    messages: Sequence[Message],
    *,
    tokenizer: Tokenizer,
    sampler: Sampler,
    max_new_tokens: int,
    stop: str | Sequence[str] = (),
    overflow: Overflow = "error",
    speculate: Speculate = "off",
    policy: DraftPolicy | None = None,
) -> Generator[Piece, None, None]:
    """Reply to `messages`.

    The session remembers what its ids stand for: the same messages followed by new ones append only
    the new ids; a retry or an undone turn rolls back; edited messages are rendered again and keep
    the longest common prefix.

    Args:
        session: reused for every turn of a conversation.
        messages: the whole conversation; not changed.
        tokenizer: of the model.
        sampler: chooses the tokens.
        max_new_tokens: at most so many are sampled.
        stop: stop strings, besides the template's stop tokens.
        overflow: "sliding" drops the oldest rounds when the cache is full, and says so.
        speculate: see `generation.generate`.
        policy: what drafts have cost and brought so far; changed.

    Yields:
        Pieces; their texts add up to the reply as a user should read it, and the last one has the
        messages to append to the history in `reply`.

    Raises:
        TokenizerError: the model has no chat template, or refuses the messages.
        CacheFullError: the cache is full and nothing may, or can, be dropped.
        EngineError, ConfigError: as in `generate`.
    """
    template = tokenizer.template
    prompt = ChatPrompt(template, messages, session)
    output = AnswerText(StreamingDetokenizer(tokenizer), stop, template.reply_filter())
    sliding = overflow == "sliding"
    notices = prompt.fit() if sliding else ()
    pieces = generate(
        session,
        prompt.ids,
        sampler=sampler,
        max_new_tokens=max_new_tokens,
        stop_ids=template.stop_ids,
        output=output,
        make_room=prompt.make_room if sliding else None,
        notices=notices,
        speculate=speculate,
        policy=policy,
    )
    answer: list[int] = []
    shown = ""
    session.transcript = None
    try:
        with contextlib.closing(pieces):
            for piece in pieces:
                shown += piece.text
                if piece.token not in template.stop_ids:
                    answer.append(piece.token)
                if piece.finish_reason:
                    whole = output.raw if output.stopped else answer
                    reply = template.parse_reply(whole, prompt.asked)
                    piece = dataclasses.replace(piece, reply=reply.messages)
                yield piece
    finally:
        if answer and output.is_complete():
            session.transcript = Transcript(
                asked=prompt.asked,
                rounds_dropped=prompt.rounds_dropped,
                prompt=prompt.ids,
                reply=template.parse_reply(answer, prompt.asked).messages,
                text=shown,
                answer=answer,
                previous=prompt.earlier,
            )
