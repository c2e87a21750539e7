"""What a benchmark found: one dataclass, the same for the table, the plot and JSON."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

from glmlite.bench.bandwidth import Bandwidth
from glmlite.bench.memory import Memory

SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    least: float
    most: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value or more."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    def rate(self, amount: float) -> Spread:
        """`amount` a second, where these are the seconds that it took."""
        return Spread(amount / self.median, amount / self.most, amount / self.least, self.count)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What was asked for.

    Attributes:
        prompt_tokens: of the prompt that is fed. new_tokens: sampled after it, greedily.
        repeats: how often each measurement was made, after a warm-up.
        batch: rows that were decoded together.
        threads: of the engine; None: its own choice.
        seed: of the random prompts.
    """

    prompt_tokens: int
    new_tokens: int
    repeats: int
    batch: int
    threads: int | None
    seed: int


@dataclasses.dataclass(frozen=True)
class Subject:
    """What was measured.

    Attributes:
        path: the bundle's folder.
        family: of its prompts. layers, hidden_size: of its model.
        quantization: the manifest's word for its weights.
        weights_bytes: of everything in the weights file.
        decode_bytes: of the weights that one new token needs, as the bundle stores them; an engine
            that expands them reads more.
        capacity: tokens that a session can hold.
        engine: its name. engine_reason: why it was chosen.
        versions: of glmlite, Python and what the engine builds on.
    """

    path: str
    family: str
    layers: int
    hidden_size: int
    quantization: str
    weights_bytes: int
    decode_bytes: int
    capacity: int
    engine: str
    engine_reason: str
    versions: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where it was measured."""

    system: str
    cpu: str
    cores: int
    cpu_features: tuple[str, ...]
    memory_total: int | None


@dataclasses.dataclass(frozen=True)
class Calls:
    """Steps of the engine over the whole run, warm-up included.

    Attributes:
        steps: calls of `Engine.step`. decode_steps: those of one token a row.
        tokens: valid tokens in all calls and rows.
    """

    steps: int
    decode_steps: int
    tokens: int


@dataclasses.dataclass(frozen=True)
class Answers:
    """One prompt answered several times over, from an empty cache.

    Attributes:
        first_token_seconds: from the call to the first token.
        prefill_tokens_per_second: prompt tokens a second.
        decode_tokens_per_second: of each answer as a whole, after the first token.
        token_seconds: of every decode step of every answer.
        host_seconds: a token's share of what was not spent inside the engine.
    """

    first_token_seconds: Spread
    prefill_tokens_per_second: Spread
    decode_tokens_per_second: Spread
    token_seconds: Spread
    host_seconds: Spread


@dataclasses.dataclass(frozen=True)
class ContextPoint:
    """Decode steps with `context` tokens in the cache."""

    context: int
    token_seconds: Spread


@dataclasses.dataclass(frozen=True)
class SecondTurn:
    """A conversation goes on: with its cache, and from an empty one.

    Attributes:
        conversation_tokens: that the cache holds. new_tokens: of the next message.
        seconds: to the first token, feeding the new tokens only.
        cold_seconds: to the first token, feeding everything.
    """

    conversation_tokens: int
    new_tokens: int
    seconds: Spread
    cold_seconds: float

    @property
    def share(self) -> float:
        """Of the cold start's time."""
        return self.seconds.median / self.cold_seconds


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows decoded together: seconds of a step, and tokens a second of all rows."""

    rows: int
    step_seconds: Spread
    tokens_per_second: Spread


@dataclasses.dataclass
class BenchReport:
    """Everything; a figure that was not measured (yet) is None or empty.

    Attributes:
        load_seconds: from the call to an engine that is ready.
        warm_up_seconds: the first prompt and tokens of all; not part of any other figure.
        interrupted: whether Ctrl-C ended the run; what is there then is right all the same.
    """

    subject: Subject
    machine: Machine
    settings: Settings
    bandwidth: Bandwidth | None = None
    load_seconds: float | None = None
    warm_up_seconds: float | None = None
    answers: Answers | None = None
    contexts: tuple[ContextPoint, ...] = ()
    second_turn: SecondTurn | None = None
    batch: Batch | None = None
    memory: Memory | None = None
    calls: Calls | None = None
    interrupted: bool = False

    @property
    def weights_bytes_per_second(self) -> float | None:
        """Weights that decoding reads in a second."""
        if self.answers is None:
            return None
        return self.subject.decode_bytes / self.answers.token_seconds.median

    @property
    def bandwidth_share(self) -> float | None:
        """Of the machine's read bandwidth, measured in the same run."""
        speed = self.weights_bytes_per_second
        if speed is None or self.bandwidth is None:
            return None
        return speed / self.bandwidth.bytes_per_second

    @property
    def decode_growth(self) -> float | None:
        """How much longer a token takes at the longest context than at the shortest, as a share."""
        if len(self.contexts) < 2:
            return None
        first, last = self.contexts[0], self.contexts[-1]
        return last.token_seconds.median / first.token_seconds.median - 1

    def to_dict(self) -> dict[str, Any]:
        """Plain data, derived figures included; seconds, bytes, tokens and shares."""
        turn = self.second_turn
        return {
            "schema": SCHEMA,
            **dataclasses.asdict(self),
            "second_turn": turn and {**dataclasses.asdict(turn), "share": turn.share},
            "weights_bytes_per_second": self.weights_bytes_per_second,
            "bandwidth_share": self.bandwidth_share,
            "decode_growth": self.decode_growth,
        }
