"""ChatGLM2: numbered rounds of question and answer in one plain text.

Source: `build_prompt`, `build_stream_inputs` and `process_response` of the official ChatGLM2-6B
(tokenization_chatglm.py, modeling_chatglm.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from glmlite.errors import TokenizerError
from glmlite.text.messages import Message, Turn, check_messages
from glmlite.text.replies import Reply, ReplyFilter, parse_plain, reply_text
from glmlite.text.templates.base import TokenEncoder, check_asks, check_known


class Glm2Template:
    r"""`[Round i]\n\n问：{question}\n\n答：{answer}\n\n`, rounds counted from 1."""

    def __init__(self, tokenizer: TokenEncoder) -> None:
        self._tokenizer = tokenizer
        self.stop_ids = frozenset({tokenizer.eos_id})

    def chat_ids(self, messages: Sequence[Message]) -> list[int]:
        """See `PromptTemplate.chat_ids`: user and assistant in turn, the user first and last."""
        text = _render(_check(messages))
        return [*self._tokenizer.prefix_ids, *self._tokenizer.encode(text)]

    def continuation_ids(self, messages: Sequence[Message], known: int) -> list[int]:
        r"""See `PromptTemplate.continuation_ids`; from "\n\n[Round n]" on."""
        turns = _check(messages)
        check_known(turns, known)
        if known == 0:
            return self.chat_ids(messages)
        rest = _render(turns)[len(_render(turns[:known])) :]
        return self._tokenizer.vocabulary.encode_continuation(rest)

    def parse_reply(self, reply: str | Sequence[int], history: Sequence[Message] = ()) -> Reply:
        """See `PromptTemplate.parse_reply`; `history` does not matter."""
        return parse_plain(reply_text(reply, self._tokenizer))

    def reply_filter(self) -> ReplyFilter:
        """See `PromptTemplate.reply_filter`."""
        return ReplyFilter(has_header=False)


def _check(messages: Sequence[Message]) -> list[Turn]:
    turns = check_messages(messages)
    for index, turn in enumerate(turns, 1):
        expected = "user" if index % 2 else "assistant"
        if turn.role not in ("user", "assistant"):
            raise TokenizerError(
                "Message {index} is a {role} message; ChatGLM2 knows only user and assistant.",
                hint="Put instructions into the first question.",
                index=index,
                role=turn.role,
            )
        if turn.role != expected:
            raise TokenizerError(
                "Message {index} is a {role} message where ChatGLM2 needs a {expected} message: "
                "user and assistant take turns, the user first.",
                index=index,
                role=turn.role,
                expected=expected,
            )
        if turn.metadata:
            raise TokenizerError(
                "Message {index} has metadata, which ChatGLM2 does not know.", index=index
            )
    check_asks(turns, ("user",))
    return turns


def _render(turns: Sequence[Turn]) -> str:
    parts = []
    for i, turn in enumerate(turns):
        separator = "\n\n" if i else ""
        if turn.role == "user":
            parts.append(f"{separator}[Round {i // 2 + 1}]\n\n问：{turn.content}\n\n答：")
        else:
            parts.append(turn.content)
    return "".join(parts)
