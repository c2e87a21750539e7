"""The "sliding" policy: what is dropped when the cache is full."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

# Dropping costs a new prefill, so this share of the cache is freed at once.
_FREED_SHARE = 4

Message = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Context:
    """What the cache should hold after something was dropped.

    Attributes:
        ids: the new content, the answer so far included.
        notice: what the user should be told.
    """

    ids: list[int]
    notice: str


def length_after_dropping(capacity: int) -> int:
    """Tokens that may remain: a quarter of the cache is left for what comes."""
    return capacity - max(capacity // _FREED_SHARE, 1)


def drop_oldest_round(messages: Sequence[Message]) -> list[Message] | None:
    """The messages without their oldest round; None where only one is left.

    A round is a user's message and all that follow it up to the next user's. System messages at the
    beginning belong to none and stay.
    """
    first = next((i for i, m in enumerate(messages) if m["role"] != "system"), len(messages))
    starts = [i for i in range(first + 1, len(messages)) if messages[i]["role"] == "user"]
    return [*messages[:first], *messages[starts[0] :]] if starts else None


def drop_oldest_tokens(ids: Sequence[int], pinned: int, length: int) -> list[int]:
    """The first `pinned` ids and the newest ones, `length` in all."""
    if len(ids) <= length:
        return list(ids)
    return [*ids[:pinned], *ids[len(ids) - max(length - pinned, 1) :]]
