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
        p, q = _shift(before), _shift(after)
        losses = [x[np.arange(len(targets)), targets] for x in (p, q)]
        q_total = np.log(np.exp(q).sum(axis=-1))
        # KL = Σ e^p (p - q) / Σ e^p - log Σ e^p + log Σ e^q, over the shifted logits.
        np.subtract(p, q, out=q)
        np.exp(p, out=p)
        sums = p.sum(axis=-1)
        divergence = np.einsum("ij,ij->i", p, q) / sums - np.log(sums) + q_total
        divergence = np.maximum(divergence, 0.0)
        self.tokens += len(targets)
        self.agreeing += int((before.argmax(axis=-1) == after.argmax(axis=-1)).sum())
        self.loss_before += float((np.log(sums) - losses[0]).sum())
        self.loss += float((q_total - losses[1]).sum())
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


def _shift(logits: Float32Array) -> NDArray[np.float64]:
    """Logits in float64, the largest of each row 0, so that their exponentials are finite."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    return shifted
