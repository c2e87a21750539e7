"""What was measured, and which of it is best: no clock, no engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from glmlite.bench.report import Spread

# A gain smaller than this share is taken for noise.
NOISE = 0.03


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One combination of settings.

    Attributes:
        threads: of the engine. spinning: see `OnnxSettings`. prefill_chunk: the same.
        prompt_tokens: that were fed.
        prefill: seconds for all of them.
        decode: seconds for a step after them; the chunk makes no difference to it.
    """

    threads: int
    spinning: bool
    prefill_chunk: int
    prompt_tokens: int
    prefill: Spread
    decode: Spread

    def answer_seconds(self, new_tokens: int) -> float:
        """Seconds for the prompt and an answer of `new_tokens`, by the medians."""
        return self.prefill.median + new_tokens * self.decode.median

    def to_dict(self) -> dict[str, Any]:
        """Plain data, in seconds, and the rates in tokens a second."""
        return {
            **dataclasses.asdict(self),
            "prefill_tokens_per_second": self.prompt_tokens / self.prefill.median,
            "decode_tokens_per_second": 1 / self.decode.median,
        }


def choose(
    default: Measurement, others: Iterable[Measurement], new_tokens: int, noise: float = NOISE
) -> Measurement:
    """The combination that answers soonest.

    Args:
        default: what is kept where no other is clearly faster.
        others: may contain `default`.
        new_tokens: of the answer.
        noise: share of the default's seconds that another must save at least.
    """
    best = min([default, *others], key=lambda found: found.answer_seconds(new_tokens))
    enough = default.answer_seconds(new_tokens) * (1 - noise)
    return best if best.answer_seconds(new_tokens) < enough else default
