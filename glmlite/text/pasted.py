r"""ChatGLM2's prompt template as a user pastes it: recognised, so that it is not applied twice.

MindFormers' pages tell users to write `[Round 1]\n\n问：{question}\n\n答：` themselves, on one line
with a literal `\n` or on several.
"""

from __future__ import annotations

import re

_FIRST_LINE = re.compile(r"\s*\[Round \d+\][ \t]*(?:\n|$)")
_LITERAL = re.compile(r"\s*\[Round \d+\](?:\\n)+问[：:]")
_ROUND = re.compile(
    r"\[Round \d+\]\s*\n\s*问[：:](.*?)\n\s*答[：:](.*?)(?=\s*\n\s*\[Round \d+\]\s*\n|\Z)",
    re.DOTALL,
)
_END = re.compile(r"答[：:]\s*\Z")


def expand_newlines(text: str) -> str:
    r"""`text` with each literal `\n` (a backslash and an n) as a line break."""
    return text.replace("\\n", "\n")


def expand_template(text: str) -> str:
    r"""The same for a template written on one line; any other text as it is."""
    return expand_newlines(text) if _LITERAL.match(text) else text


def is_partial_template(text: str) -> bool:
    """Whether `text` begins a pasted template whose last line is still to come."""
    return bool(_FIRST_LINE.match(text)) and not _END.search(text)


def parse_template(text: str) -> list[dict[str, str]] | None:
    """The messages that a pasted prompt stands for; None where it is no such prompt.

    Every round but the last has an answer, and nothing stands outside the rounds.
    """
    text = expand_template(text).strip()
    rounds = list(_ROUND.finditer(text))
    if not rounds or rounds[0].start() != 0:
        return None
    messages: list[dict[str, str]] = []
    for i, found in enumerate(rounds):
        question, answer = (part.strip() for part in found.groups())
        if bool(answer) == (i == len(rounds) - 1):
            return None
        messages.append({"role": "user", "content": question})
        if answer:
            messages.append({"role": "assistant", "content": answer})
    return messages
