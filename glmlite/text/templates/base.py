"""What a prompt template does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from glmlite.errors import TokenizerError
from glmlite.text.messages import Message, Turn
from glmlite.text.replies import Reply, ReplyFilter
from glmlite.text.vocabulary import Vocabulary


class TokenEncoder(Protocol):
    """What a template needs of a tokenizer."""

    vocabulary: Vocabulary
    special_ids: dict[str, int]
    prefix_ids: tuple[int, int]
    eos_id: int

    def encode(self, text: str) -> list[int]:
        """Ids of a text, never a special id."""

    def decode(self, ids: Iterable[int], show_special: bool = False) -> str:
        """Text of ids."""


class PromptTemplate(Protocol):
    """How the messages of one family become a prompt, and its replies become messages.

    Messages are mappings: `role`, `content`, and where the family has them `metadata` (on an
    assistant's turn the name of the tool it calls) and `tools` (on a system message).
    """

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end a reply; they belong neither to the reply nor into the cache."""

    def chat_ids(self, messages: Sequence[Message]) -> list[int]:
        """Ids of the whole prompt, [gMASK] sop included, up to where the reply begins.

        Raises:
            TokenizerError: a message is malformed, or the family has no such conversation.
        """

    def continuation_ids(self, messages: Sequence[Message], known: int) -> list[int]:
        """Ids to append to a cache that holds `messages[:known]`, for the reply to `messages`.

        Args:
            messages: the whole conversation.
            known: how many of them the cache holds, the last one an assistant's reply as it was
                generated, without its stop token; 0 gives `chat_ids(messages)`.

        Raises:
            TokenizerError: as in `chat_ids`, or `messages[known - 1]` is no assistant's.
        """

    def parse_reply(self, reply: str | Sequence[int], history: Sequence[Message] = ()) -> Reply:
        """What a finished reply says, as the official `process_response` reads it.

        Args:
            reply: its ids (best: text that merely spells a role is then no role), or its text.
            history: the messages it answers; tells whether tools were offered.
        """

    def reply_filter(self) -> ReplyFilter:
        """Turns streamed text into what a user should see of it."""


def check_known(turns: Sequence[Turn], known: int) -> None:
    """Check `continuation_ids`' second argument.

    Raises:
        TokenizerError: `known` does not point behind an assistant's turn of the conversation.
    """
    valid = isinstance(known, int) and 0 <= known < len(turns)
    if not valid or (known and turns[known - 1].role != "assistant"):
        raise TokenizerError(
            "Cannot continue after message {known} of {count}: only after a reply of the assistant "
            "that is followed by another message.",
            known=known,
            count=len(turns),
        )


def check_asks(turns: Sequence[Turn], roles: Sequence[str]) -> None:
    """Check that a conversation ends with a message that wants a reply.

    Raises:
        TokenizerError: it is empty, or another role has the last word.
    """
    if not turns:
        raise TokenizerError("There are no messages: nothing to reply to.")
    if turns[-1].role not in roles:
        raise TokenizerError(
            "The last message is a {role} message; a reply needs one of: {roles}.",
            role=turns[-1].role,
            roles=", ".join(roles),
        )
