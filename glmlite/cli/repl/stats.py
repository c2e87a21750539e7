"""One line about an answer: tokens, speed, reuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glmlite.i18n import _

if TYPE_CHECKING:
    from glmlite.runtime.generation import GenerationStats


def describe(stats: GenerationStats) -> str:
    """The figures that a person at a terminal wants to see."""
    return _(
        "{tokens} tokens · {speed:.1f} tokens/s · first after {first:.2f} s · prompt {prompt}, "
        "{reused} of it reused",
        tokens=stats.new_tokens,
        speed=stats.tokens_per_second,
        first=stats.time_to_first_token,
        prompt=stats.prompt_tokens,
        reused=stats.reused_tokens,
    )
