"""MindFormers' generation options in glmlite's terms.

Source: GenerationConfig and generate() of MindFormers 0.8 to 1.0. Without do_sample the other
sampling options do not count; `max_length` counts the prompt, and `max_new_tokens` overrides it.
"""

from __future__ import annotations

from typing import Any

from glmlite.errors import ConfigError
from glmlite.runtime.ranges import check_integer, check_number
from glmlite.runtime.sampling import SamplingParams


def sampling_params(
    *,
    do_sample: bool = False,
    top_k: Any = 1,
    top_p: Any = 1.0,
    temperature: Any = 1.0,
    repetition_penalty: Any = 1.0,
    seed: int | None = None,
) -> SamplingParams:
    """How tokens are chosen.

    Raises:
        ConfigError: a value that counts is out of its range.
    """
    penalty = check_number("repetition_penalty", repetition_penalty, "(0, inf)")
    if not do_sample:
        return SamplingParams(repetition_penalty=penalty)
    # MindFormers takes a top_p above 1 as off.
    share = check_number("top_p", top_p, "(0, inf)")
    return SamplingParams(
        temperature=check_number("temperature", temperature, "(0, inf)"),
        top_k=check_integer("top_k", top_k, 0),
        top_p=min(share, 1.0),
        repetition_penalty=penalty,
        seed=seed,
    )


def count_new_tokens(
    prompt: int, limit: int, *, max_length: Any = None, max_new_tokens: Any = None
) -> int:
    """How many tokens may follow a prompt; 0 where it fills max_length alone.

    Args:
        prompt: its length.
        limit: tokens that prompt and answer may have together.
        max_length: the same, as the user wants it.
        max_new_tokens: overrides it.

    Raises:
        ConfigError: the prompt alone is longer than `limit`.
    """
    if prompt > limit:
        raise ConfigError(
            "The prompt has {prompt} tokens; prompt and answer together may have {limit}.",
            hint="Shorten it, or export with a larger export.cache_length (MindFormers' "
            "seq_length).",
            prompt=prompt,
            limit=limit,
        )
    if max_new_tokens is not None:
        return min(check_integer("max_new_tokens", max_new_tokens, 1), limit - prompt)
    if max_length is not None:
        limit = min(limit, check_integer("max_length", max_length, 1))
    return max(limit - prompt, 0)
