"""Perplexity, divergence and first choices of two sets of logits, as running sums."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from glmlite.bundle.accuracy import AccuracyEntry

Float32Array = NDArray[np.float32]


@dataclasses.dataclass
class Comparison:
    """Running sums over predicted tokens; divergences and losses in nats."""

    tokens: int = 0
    agreeing: int = 0
    loss: float = 0.0
    loss_before: float = 0.0
    divergence: float = 0.0
    largest: float = 0.0

    def add(self, before: Float32Array, after: Float32Array, targets: NDArray[np.int64]) -> None:
        """Count rows of logits.

        Args:
            before: float32 [n, V] of the float weights.
            after: the same of the quantized ones.
            targets: [n], the ids that came next.
        """
        p, q = log_softmax(before), log_softmax(after)
        rows = np.arange(len(targets))
        divergence = np.maximum((np.exp(p) * (p - q)).sum(axis=-1), 0.0)
        self.tokens += len(targets)
        self.agreeing += int((before.argmax(axis=-1) == after.argmax(axis=-1)).sum())
        self.loss_before -= float(p[rows, targets].sum())
        self.loss -= float(q[rows, targets].sum())
        self.divergence += float(divergence.sum())
        self.largest = max(self.largest, float(divergence.max()))

    def to_entry(self, text: str, window: int) -> AccuracyEntry:
        """The manifest's record."""
        return AccuracyEntry(
            text=text,
            tokens=self.tokens,
            window=window,
            perplexity_before=_exp(self.loss_before / self.tokens),
            perplexity=_exp(self.loss / self.tokens),
            kl_mean=self.divergence / self.tokens,
            kl_max=self.largest,
            top1=self.agreeing / self.tokens,
        )


def _exp(loss: float) -> float:
    """e^loss, finite: JSON knows no infinity."""
    return math.exp(min(loss, 700.0))


def log_softmax(logits: Float32Array) -> NDArray[np.float64]:
    """Logarithms of the probabilities over the last axis, float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted
