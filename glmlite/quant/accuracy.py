"""What quantization costs: the same text through both sets of weights, side by side, in NumPy.

The text's ids are cut into windows, each behind `[gMASK] sop` as every GLM prompt is. Every id of
the text is predicted once, from what stands before it in its window. Both networks advance layer by
layer with one layer's weights each in memory, so that it works for 6B on a laptop. Activations are
float32: this measures the weights' rounding alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from glmlite.bundle.accuracy import AccuracyEntry
from glmlite.checkpoint import WeightSource
from glmlite.checkpoint.prefix import Prefix
from glmlite.i18n import _
from glmlite.model import reference
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import FINAL_NORM, OUTPUT
from glmlite.progress import Progress
from glmlite.quant.sample import Sample

Float32Array = NDArray[np.float32]

# Rows of logits at a time: two float32 [64, 65024] arrays take 33 MB.
_ROWS = 64


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


def measure(
    config: ModelConfig,
    before: WeightSource,
    after: WeightSource,
    sample: Sample,
    progress: Progress,
    prefix: Prefix | None = None,
) -> AccuracyEntry:
    """Compare two sets of weights of one network.

    Args:
        config: the network.
        before: the float weights.
        after: the quantized ones, dequantized as they are read.
        sample: the text's ids in windows.
        progress: gets one stage with one step a layer, and one for the output layer.
        prefix: P-Tuning keys and values per layer, the same for both.
    """
    progress.stage(_("Measuring the accuracy"), config.num_layers + 1, _("layers"))
    states = _side_by_side(config, before, after, sample.windows, prefix)
    final = next(states)
    for final in states:  # noqa: B007 - the last pair is what counts
        progress.advance()
    normed = [
        reference.rms_norm(hidden, reference.read_weight(source, FINAL_NORM), config.norm_eps)
        for hidden, source in zip(final, (before, after), strict=True)
    ]
    outputs = [reference.read_weight(source, OUTPUT) for source in (before, after)]
    rows, targets = _predictions(sample)
    comparison = Comparison()
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        logits = [x[part] @ w.T for x, w in zip(normed, outputs, strict=True)]
        comparison.add(logits[0], logits[1], targets[start : start + _ROWS])
    progress.advance()
    return comparison.to_entry(sample.label, sample.window)


def _side_by_side(
    config: ModelConfig,
    before: WeightSource,
    after: WeightSource,
    windows: Sequence[Sequence[int]],
    prefix: Prefix | None,
) -> Iterator[tuple[Float32Array, Float32Array]]:
    """Hidden states of both networks after the embedding and after each layer."""
    return zip(
        reference.hidden_states(config, before, windows, prefix=prefix),
        reference.hidden_states(config, after, windows, prefix=prefix),
        strict=True,
    )


def _predictions(sample: Sample) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the hidden states that predict an id of the text, and these ids."""
    rows: list[int] = []
    targets: list[int] = []
    start = 0
    for window in sample.windows:
        rows += range(start + sample.given - 1, start + len(window) - 1)
        targets += window[sample.given :]
        start += len(window)
    return np.array(rows), np.array(targets)
