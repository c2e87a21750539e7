"""What is to be measured, checked against the machine and the bundle."""

from __future__ import annotations

import dataclasses

from glmlite.errors import ConfigError
from glmlite.runtime.chunks import LARGEST_DYNAMIC_CHUNK
from glmlite.runtime.host import inspect_host
from glmlite.runtime.ranges import check_integer
from glmlite.runtime.threads import default_threads

PROMPT_TOKENS = 512
NEW_TOKENS = 128
REPEATS = 3
# Chunks that are tried beside the default.
OTHER_CHUNKS = (32, 64, 128, 512)
# Decode steps of each repeat.
DECODE_STEPS = 16
# The least number of threads that is tried, as a part of the default.
_FEWER = 8


@dataclasses.dataclass(frozen=True)
class TuneOptions:
    """What the user asked for.

    Attributes:
        threads_up_to: the most threads that are tried; None: a thread for each logical processor.
        prompt_tokens: of the answer that shall be fastest; None: 512, or half the cache.
        new_tokens: of that answer; only their share counts, fewer are measured.
        repeats: of every measurement.
    """

    threads_up_to: int | None = None
    prompt_tokens: int | None = None
    new_tokens: int = NEW_TOKENS
    repeats: int = REPEATS

    def __post_init__(self) -> None:
        check_integer("new_tokens", self.new_tokens, 1)
        check_integer("repeats", self.repeats, 1)
        if self.prompt_tokens is not None:
            check_integer("prompt_tokens", self.prompt_tokens, 1)
        if self.threads_up_to is None:
            return
        check_integer("threads_up_to", self.threads_up_to, 1)
        cores = inspect_host().cores
        if self.threads_up_to > cores:
            raise ConfigError(
                "threads_up_to is {found}; this process may use {cores} logical processors.",
                found=self.threads_up_to,
                cores=cores,
            )

    def thread_counts(self) -> tuple[int, ...]:
        """The numbers of threads to try: powers of two, the default, and the most.

        Far fewer than the default have no chance, and a large model takes minutes to show it.
        """
        most = self.threads_up_to or max(inspect_host().cores, default_threads())
        usual = min(default_threads(), most)
        powers = [1 << n for n in range(most.bit_length()) if 1 << n >= usual // _FEWER]
        return tuple(sorted({*powers, usual, most}))

    def prompt_for(self, capacity: int) -> int:
        """Tokens of the prompt in a cache of `capacity` tokens.

        Raises:
            ConfigError: it does not fit, together with the decode steps.
        """
        room = capacity - DECODE_STEPS
        prompt = self.prompt_tokens or max(1, min(PROMPT_TOKENS, capacity // 2, room))
        if prompt > room:
            raise ConfigError(
                "prompt_tokens is {found}; the bundle's cache of {capacity} tokens has room for "
                "{room} and {steps} measured steps.",
                hint="Name fewer, or export with a larger export.cache_length.",
                found=prompt,
                capacity=capacity,
                room=max(room, 0),
                steps=DECODE_STEPS,
            )
        return prompt


def chunks_for(prompt: int) -> tuple[int, ...]:
    """The chunks that make a difference for a prompt; the last one is the default."""
    default = LARGEST_DYNAMIC_CHUNK
    others = [n for n in OTHER_CHUNKS if min(n, prompt) != min(default, prompt)]
    return (*others, default)
