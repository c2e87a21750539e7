"""What is to be measured, checked against what the bundle can hold."""

from __future__ import annotations

import dataclasses

from glmlite.errors import ConfigError
from glmlite.runtime.ranges import check_integer

PROMPT_TOKENS = 512
NEW_TOKENS = 64
REPEATS = 3
# Tokens in the cache at the points of the curve.
CONTEXTS = (64, 512, 1024, 2000)
# Decode steps at each point, after one that is not counted.
CONTEXT_STEPS = 8
CONVERSATION_TOKENS = 1500
# About a short question with its template.
MESSAGE_TOKENS = 32
# A conversation shorter than this says nothing about a second turn.
LEAST_CONVERSATION = 64


@dataclasses.dataclass(frozen=True)
class BenchOptions:
    """What the user asked for.

    Attributes:
        prompt_tokens: None: 512, or what fits into half the cache.
        new_tokens: None: 64, or what then fits.
        batch: rows that are decoded together; 1 measures a single session only.
        repeats: of every measurement.
        contexts: tokens in the cache at the points of the curve; empty: no curve. None: those of
            `CONTEXTS` that fit.
        second_turn: whether a conversation is continued.
        bandwidth: whether the machine's read bandwidth is measured.
        seed: of the random prompts.
    """

    prompt_tokens: int | None = None
    new_tokens: int | None = None
    batch: int = 1
    repeats: int = REPEATS
    contexts: tuple[int, ...] | None = None
    second_turn: bool = True
    bandwidth: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("prompt_tokens", 1), ("new_tokens", 2)):
            value = getattr(self, name)
            if value is not None:
                check_integer(name, value, least)
        check_integer("batch", self.batch, 1)
        check_integer("repeats", self.repeats, 1)
        check_integer("seed", self.seed, 0)
        for context in self.contexts or ():
            check_integer("contexts", context, 1)

    def check_fit(self, capacity: int, rows: int) -> None:
        """See that a bundle can hold all that was named; for making one, and before measuring.

        Args:
            capacity: tokens of its cache.
            rows: of a batch.

        Raises:
            ConfigError: it cannot.
        """
        self.lengths(capacity)
        self.check_batch(rows)
        self.fitting_contexts(capacity)

    def lengths(self, capacity: int) -> tuple[int, int]:
        """Prompt and new tokens of an answer in a cache of `capacity` tokens.

        Raises:
            ConfigError: what was asked for does not fit.
        """
        prompt = self.prompt_tokens
        if prompt is None:
            room = capacity - (self.new_tokens or 0)
            prompt = max(1, min(PROMPT_TOKENS, capacity // 2, room))
        new = self.new_tokens
        if new is None:
            new = max(2, min(NEW_TOKENS, capacity - prompt))
        # The last token is sampled, not fed.
        if prompt + new - 1 > capacity:
            raise ConfigError(
                "A prompt of {prompt} tokens and an answer of {new} do not fit into the bundle's "
                "cache of {capacity} tokens.",
                hint="Lower --prompt-tokens or --new-tokens, or export with a larger "
                "export.cache_length.",
                prompt=prompt,
                new=new,
                capacity=capacity,
            )
        return prompt, new

    def check_batch(self, rows: int) -> None:
        """See that a bundle of `rows` rows has that many.

        Raises:
            ConfigError: it has fewer.
        """
        if self.batch > rows:
            raise ConfigError(
                "--batch {batch} needs a bundle of that many rows; this one has {rows}.",
                hint="Export it again with --set export.batch_size={batch}.",
                batch=self.batch,
                rows=rows,
            )

    def fitting_contexts(self, capacity: int) -> tuple[int, ...]:
        """Points of the curve, ascending, with room for the steps behind each.

        Raises:
            ConfigError: one that was named does not fit.
        """
        wanted = sorted(set(CONTEXTS if self.contexts is None else self.contexts))
        room = capacity - CONTEXT_STEPS - 1
        if self.contexts and wanted[-1] > room:
            raise ConfigError(
                "A context of {context} tokens and the {steps} that are decoded behind it do not "
                "fit into the bundle's cache of {capacity} tokens.",
                hint="Lower --contexts, or export with a larger export.cache_length.",
                context=wanted[-1],
                steps=CONTEXT_STEPS + 1,
                capacity=capacity,
            )
        return tuple(context for context in wanted if context <= room)

    def conversation(self, capacity: int) -> tuple[int, int] | None:
        """Tokens of the conversation so far and of the next message; None where none fits."""
        if not self.second_turn:
            return None
        message = min(MESSAGE_TOKENS, max(1, capacity // 8))
        held = min(CONVERSATION_TOKENS, capacity - message)
        return (held, message) if held >= min(LEAST_CONVERSATION, 2 * message) else None
