"""ChatGLM3: each message under a role token, with metadata on its first line.

Source: `build_chat_input`, `build_single_message`, `build_stream_inputs` and `process_response` of
the official ChatGLM3-6B (tokenization_chatglm.py, modeling_chatglm.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from glmlite.text.messages import Message, Turn, check_messages
from glmlite.text.replies import Reply, ReplyFilter, parse_with_header, reply_text
from glmlite.text.templates.base import TokenEncoder, check_asks, check_known

_ASSISTANT = "<|assistant|>"


class Glm3Template:
    r"""`<|role|>{metadata}\n{content}`; the roles are tokens that no text can spell."""

    def __init__(self, tokenizer: TokenEncoder) -> None:
        self._tokenizer = tokenizer
        special = tokenizer.special_ids
        self._assistant_id = special[_ASSISTANT]
        self.stop_ids = frozenset(
            {tokenizer.eos_id, special["<|user|>"], special["<|observation|>"]}
        )

    def chat_ids(self, messages: Sequence[Message]) -> list[int]:
        """See `PromptTemplate.chat_ids`; the last message is a user's or an observation."""
        return self.continuation_ids(messages, 0)

    def continuation_ids(self, messages: Sequence[Message], known: int) -> list[int]:
        """See `PromptTemplate.continuation_ids`: the ids of the messages that are not known."""
        turns = check_messages(messages)
        check_asks(turns, ("user", "observation"))
        check_known(turns, known)
        ids = [] if known else list(self._tokenizer.prefix_ids)
        for turn in turns[known:]:
            ids += self.message_ids(turn)
        return [*ids, self._assistant_id]

    def message_ids(self, turn: Turn) -> list[int]:
        """Ids of one message; metadata and content are encoded apart, each with a dummy prefix."""
        return [
            self._tokenizer.special_ids[f"<|{turn.role}|>"],
            *self._tokenizer.encode(f"{turn.metadata}\n"),
            *self._tokenizer.encode(turn.content),
        ]

    def parse_reply(self, reply: str | Sequence[int], history: Sequence[Message] = ()) -> Reply:
        """See `PromptTemplate.parse_reply`; the first message of `history` may offer tools."""
        has_tools = bool(history) and check_messages(history)[0].has_tools
        if isinstance(reply, str):
            return parse_with_header(reply.split(_ASSISTANT), has_tools)
        parts: list[list[int]] = [[]]
        for token in reply:
            if token == self._assistant_id:
                parts.append([])
            else:
                parts[-1].append(token)
        return parse_with_header([reply_text(p, self._tokenizer) for p in parts], has_tools)

    def reply_filter(self) -> ReplyFilter:
        """See `PromptTemplate.reply_filter`."""
        return ReplyFilter(has_header=True)
