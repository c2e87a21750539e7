"""From logits to the next token."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from glmlite.errors import ConfigError, EngineError
from glmlite.keywords import check_keywords
from glmlite.runtime.engines.base import Float32Array, Int32Array
from glmlite.runtime.filters import (
    apply_min_p,
    draw,
    draw_top_p,
    softmax_weights,
    top_k_indices,
)
from glmlite.runtime.penalties import (
    TokenCounts,
    penalize_frequency,
    penalize_presence,
    penalize_repetition,
)
from glmlite.runtime.ranges import check_integer, check_number


@dataclasses.dataclass(frozen=True)
class SamplingParams:
    """How the next token is chosen; the defaults are greedy decoding.

    Attributes:
        temperature: 0 takes the likeliest token; above 0, logits are divided by it.
        top_k: only the k likeliest tokens; 0 is off.
        top_p: only the likeliest tokens that together reach this probability; 1 is off.
        min_p: only tokens at least this likely relative to the likeliest; 0 is off.
        repetition_penalty: for ids in the prompt and in the answer; 1 is off.
        presence_penalty: for ids in the answer, once each; 0 is off.
        frequency_penalty: for ids in the answer, per occurrence; 0 is off.
        logit_bias: id to a number in [-100, 100] that is added to its logit.
        seed: the same seed gives the same tokens; None draws a fresh one.

    Raises:
        ConfigError: a value is out of its range.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = dataclasses.field(default_factory=dict)
    seed: int | None = None

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, "[0, inf)")
        check_integer("top_k", self.top_k, 0)
        check_number("top_p", self.top_p, "(0, 1]")
        check_number("min_p", self.min_p, "[0, 1]")
        check_number("repetition_penalty", self.repetition_penalty, "(0, inf)")
        check_number("presence_penalty", self.presence_penalty, "[-2, 2]")
        check_number("frequency_penalty", self.frequency_penalty, "[-2, 2]")
        if self.seed is not None:
            check_integer("seed", self.seed, 0)
        if not isinstance(self.logit_bias, Mapping):
            raise ConfigError(
                "logit_bias is {found!r}; it must map token ids to numbers.",
                found=self.logit_bias,
            )
        for token, bias in self.logit_bias.items():
            check_integer("logit_bias id", token, 0)
            check_number("logit_bias", bias, "[-100, 100]")

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> SamplingParams:
        """Parameters from keyword arguments; a `ConfigError` names the one nearest to a typo."""
        check_keywords(options, [field.name for field in dataclasses.fields(cls)])
        return cls(**options)


class Sampler:
    """Chooses tokens by `params`: penalties, bias, top-k, temperature, min-p, top-p, in this order.

    Each filter sees the distribution that the one before it left.

    Args:
        params: what to do.
        vocab_size: V, the width of the logits.
        num_ids: ids from here on do not exist and are never chosen; default V.
        banned: existing ids that are never chosen either (unk, bos, [MASK], …).

    Raises:
        ConfigError: a bias names an id that does not exist, or nothing is left to choose from.
    """

    def __init__(
        self,
        params: SamplingParams,
        vocab_size: int,
        num_ids: int | None = None,
        banned: Iterable[int] = (),
    ) -> None:
        self.params = params
        self._vocab_size = vocab_size
        self._num_ids = min(vocab_size if num_ids is None else num_ids, vocab_size)
        self._banned = np.array(sorted(i for i in set(banned) if 0 <= i < self._num_ids), np.intp)
        if self._banned.size >= self._num_ids:
            raise ConfigError("Every token is banned: nothing is left to choose from.")
        for token in params.logit_bias:
            if token >= self._num_ids:
                raise ConfigError(
                    "logit_bias names token {token}; the model's ids end at {last}.",
                    token=token,
                    last=self._num_ids - 1,
                )
        self._bias_ids = np.array(list(params.logit_bias), np.intp)
        self._biases = np.array(list(params.logit_bias.values()), np.float32)
        self._generator = np.random.default_rng(params.seed)
        # Kept from token to token: fresh pages for arrays of this size cost as much as the sums.
        self._row: Float32Array = np.empty(vocab_size, np.float32)
        self._all = TokenCounts(vocab_size) if params.repetition_penalty != 1.0 else None
        counts_answer = params.presence_penalty != 0.0 or params.frequency_penalty != 0.0
        self._answer = TokenCounts(vocab_size) if counts_answer else None

    def sample(
        self,
        logits: Float32Array,
        tokens: Sequence[int] | Int32Array = (),
        prompt_length: int = 0,
    ) -> int:
        """The next token.

        Args:
            logits: float32 [V]; not changed.
            tokens: all ids so far, prompt and answer; an int32 array is cheapest.
            prompt_length: how many of `tokens` are the prompt.

        Raises:
            EngineError: the logits have another shape, or are not all finite.
        """
        row = self._adjusted(logits, tokens, prompt_length)
        params = self.params
        if params.temperature == 0.0 or params.top_k == 1:
            return int(row.argmax())
        if params.top_k > 0:
            kept = top_k_indices(row, params.top_k)
            return int(kept[self._draw(row[kept])])
        return self._draw(row)

    def _draw(self, logits: Float32Array) -> int:
        """An index of `logits`, which is overwritten."""
        params = self.params
        weights = softmax_weights(logits, params.temperature)
        if params.min_p > 0.0:
            apply_min_p(weights, params.min_p)
        if params.top_p < 1.0:
            return draw_top_p(weights, params.top_p, self._generator)
        return draw(weights, self._generator)

    def _adjusted(
        self, logits: Float32Array, tokens: Sequence[int] | Int32Array, prompt_length: int
    ) -> Float32Array:
        """After penalties, bias and bans: a view of float32 [num_ids], the ids that exist."""
        if logits.shape != (self._vocab_size,):
            raise EngineError(
                "The engine gave logits of shape {found}, expected {expected}.",
                found=list(logits.shape),
                expected=[self._vocab_size],
            )
        with np.errstate(invalid="ignore", over="ignore"):
            suspicious = not np.isfinite(logits.sum())
        if suspicious and (count := int(np.count_nonzero(~np.isfinite(logits)))):
            raise EngineError(
                "The engine gave {count} logits out of {total} that are no finite numbers.",
                hint="Check the bundle with `glmlite inspect BUNDLE --verify`; a float16 bundle "
                "may have overflowed: export it with --set model.dtype=float32.",
                count=count,
                total=logits.size,
            )
        params = self.params
        row = self._row
        row[:] = logits
        if self._all is not None:
            self._all.update(tokens)
            penalize_repetition(row, self._all.ids, params.repetition_penalty)
        if self._answer is not None:
            self._answer.update(tokens[prompt_length:])
            ids, counts = self._answer.ids, self._answer.counts
            penalize_presence(row, ids, params.presence_penalty)
            penalize_frequency(row, ids, counts, params.frequency_penalty)
        row[self._bias_ids] += self._biases
        row[self._banned] = -np.inf
        return row[: self._num_ids]
