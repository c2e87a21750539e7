"""What quantization costs: the same text through both sets of weights, side by side, in NumPy.

The text's ids are cut into windows, each behind `[gMASK] sop` as every GLM prompt is. Every id of
the text is predicted once, from what stands before it in its window. All networks advance layer by
layer with one layer's weights of two of them in memory, so that it works for 6B on a laptop.
Computation is float32; where an engine rounds what enters its matrices, so does this.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from glmlite.bundle.accuracy import WORST_TENSORS, AccuracyEntry, TensorAccuracy
from glmlite.checkpoint import WeightSource
from glmlite.checkpoint.prefix import Prefix
from glmlite.errors import AccuracyError
from glmlite.i18n import _
from glmlite.model import reference
from glmlite.model.config import ModelConfig
from glmlite.model.layer import DENSE, DOWN, QKV, UP, LayerWeights
from glmlite.model.parameters import EMBEDDING, OUTPUT, layer_prefix
from glmlite.progress import Progress
from glmlite.quant.activations import Rounding, in_words, rounder
from glmlite.quant.calibration import statistics
from glmlite.quant.divergence import Comparison
from glmlite.quant.overflow import CheckedWeights, check_hidden
from glmlite.quant.sample import Sample
from glmlite.quant.tensor_errors import (
    SAMPLED,
    MatrixInput,
    Smoothing,
    TensorReport,
    compare_matrices,
    row_errors,
)

Float32Array = NDArray[np.float32]

# Rows of logits at a time: a float64 [64, 65024] array takes 33 MB.
_ROWS = 64


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Quantized weights to be measured.

    Attributes:
        name: the recipe's, for tables.
        source: the weights, dequantized as they are read; smoothing is not undone.
        rounding: of what enters each matrix; see `activations.rounding_of`.
        smoothing: that matrices went through.
        schemes: matrix name -> how it is stored, in words.
        bytes: that the weights take; None where nobody knows.
    """

    name: str
    source: WeightSource
    rounding: Mapping[str, Rounding] = dataclasses.field(default_factory=dict)
    smoothing: Mapping[str, Smoothing] = dataclasses.field(default_factory=dict)
    schemes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    bytes: int | None = None


@dataclasses.dataclass(frozen=True)
class AccuracyReport:
    """Everything that was measured of one candidate.

    Attributes:
        name: the candidate's. bytes: the same.
        entry: what the manifest keeps.
        tensors: every matrix, in the order of computing.
    """

    name: str
    bytes: int | None
    entry: AccuracyEntry
    tensors: tuple[TensorReport, ...]


def measure(
    config: ModelConfig,
    before: WeightSource,
    candidates: Sequence[Candidate],
    sample: Sample,
    progress: Progress,
    prefix: Prefix | None = None,
) -> list[AccuracyReport]:
    """Compare sets of quantized weights with the float ones of one network.

    Args:
        config: the network.
        before: the float weights, a bundle's or a checkpoint's.
        candidates: the quantized ones.
        sample: the text's ids in windows.
        progress: gets one stage with one step for a layer of a network, and one for the output
            layer of each.
        prefix: P-Tuning keys and values per layer, the same for all.

    Returns:
        A report for each candidate, in order.

    Raises:
        CheckpointError: the float network overflows, or a weight cannot be read.
        AccuracyError: a quantized network overflows.
    """
    steps = (config.num_layers + 1) * (len(candidates) + 1)
    progress.stage(_("Measuring the accuracy"), steps, _("layers"))
    before = CheckedWeights.of(before)
    passage = reference.Passage.of(config, sample.windows, prefix)
    rows, targets = _predictions(sample)
    # What overflows is found by looking, and said in one sentence.
    with np.errstate(over="ignore", invalid="ignore"):
        hidden = _embed(before, passage)
        runs = [_Run(candidate, _embed(candidate.source, passage)) for candidate in candidates]
        for run in runs:
            run.note_layer(hidden, rows)
        inputs = _Inputs(rows)
        hidden = _through_layers(passage, before, hidden, runs, inputs, rows, progress)
        _at_output(config, before, hidden, runs, inputs, rows, targets, progress)
    return [run.report(sample) for run in runs]


def _through_layers(
    passage: reference.Passage,
    before: WeightSource,
    hidden: Float32Array,
    runs: Sequence[_Run],
    inputs: _Inputs,
    rows: NDArray[np.int64],
    progress: Progress,
) -> Float32Array:
    """All networks, layer by layer; returns the float one's hidden states."""
    config = passage.config
    for layer in range(config.num_layers):
        weights = reference.read_layer(config, before, layer)
        hidden = passage.layer(layer, weights, hidden, inputs)
        check_hidden(config, layer + 1, hidden)
        progress.advance()
        for run in runs:
            quantized = reference.read_layer(config, run.candidate.source, layer)
            run.hidden = passage.layer(layer, quantized, run.hidden, run.observe)
            run.compare_layer(layer, weights, quantized, inputs)
            run.note_layer(hidden, rows)
            progress.advance()
    return hidden


def _at_output(
    config: ModelConfig,
    before: WeightSource,
    hidden: Float32Array,
    runs: Sequence[_Run],
    inputs: _Inputs,
    rows: NDArray[np.int64],
    targets: NDArray[np.int64],
    progress: Progress,
) -> None:
    """Logits of all networks, compared."""
    x = reference.output_input(config, before, hidden, observe=inputs)
    output = reference.read_weight(before, OUTPUT)
    logits = x[rows] @ output.T
    progress.advance()
    for run in runs:
        source = run.candidate.source
        after = reference.read_weight(source, OUTPUT)
        run.compare(OUTPUT, output, after, inputs)
        x = reference.output_input(config, source, run.hidden, observe=run.observe)
        found = x[rows] @ after.T
        for start in range(0, len(rows), _ROWS):
            part = slice(start, start + _ROWS)
            run.comparison.add(logits[part], found[part], targets[part])
        del after, found  # a gigabyte and a half for 6B, while the next ones are made
        progress.advance()


class _Inputs:
    """Notes what enters each matrix of the float network, until the next layer's do."""

    def __init__(self, rows: NDArray[np.int64]) -> None:
        # Evenly spaced among those that predict something.
        self._rows = rows[np.linspace(0, len(rows) - 1, min(SAMPLED, len(rows))).astype(np.int64)]
        self.seen: dict[str, MatrixInput] = {}

    def __call__(self, name: str, x: Float32Array) -> None:
        self.seen[name] = MatrixInput(x[self._rows], statistics(x, name))


class _Run:
    """One candidate on its way through the layers."""

    def __init__(self, candidate: Candidate, hidden: Float32Array) -> None:
        self.candidate, self.hidden = candidate, hidden
        self.observe = rounder(candidate.rounding)
        self.comparison = Comparison()
        self._layers: list[float] = []
        self._tensors: list[TensorReport] = []

    def note_layer(self, hidden: Float32Array, rows: NDArray[np.int64]) -> None:
        """Compare the hidden states with those of the float network."""
        error = float(row_errors(hidden[rows], self.hidden[rows]).mean())
        if not np.isfinite(error):
            raise AccuracyError(
                "{recipe}: the quantized network overflows after layer {layer}.",
                hint="Leave the matrices of this layer in float, or take another recipe.",
                recipe=self.candidate.name,
                layer=len(self._layers),
            )
        self._layers.append(error)

    def compare_layer(
        self, layer: int, before: LayerWeights, after: LayerWeights, inputs: _Inputs
    ) -> None:
        """Compare the four matrices of a layer."""
        at = layer_prefix(layer)
        self.compare(at + QKV, before.qkv, after.qkv, inputs)
        self.compare(at + DENSE, before.dense, after.dense, inputs)
        self.compare(at + UP, before.up, after.up, inputs)
        self.compare(at + DOWN, before.down, after.down, inputs)

    def compare(
        self, name: str, before: Float32Array, after: Float32Array, inputs: _Inputs
    ) -> None:
        """Compare one matrix."""
        candidate = self.candidate
        self._tensors.append(
            compare_matrices(
                before,
                after,
                inputs.seen[name],
                name=name,
                scheme=candidate.schemes.get(name, ""),
                rounding=candidate.rounding.get(name),
                smoothing=candidate.smoothing.get(name, Smoothing()),
            )
        )

    def report(self, sample: Sample) -> AccuracyReport:
        """All that was found."""
        worst = sorted(
            (t for t in self._tensors if t.is_quantized), key=lambda t: t.output_error, reverse=True
        )
        entry = dataclasses.replace(
            self.comparison.to_entry(sample.label, sample.window),
            activations=in_words(self.candidate.rounding),
            layers=tuple(_short(error) for error in self._layers),
            tensors=tuple(
                TensorAccuracy(t.name, _short(t.weight_error), _short(t.output_error))
                for t in worst[:WORST_TENSORS]
            ),
        )
        return AccuracyReport(
            self.candidate.name, self.candidate.bytes, entry, tuple(self._tensors)
        )


def _short(number: float) -> float:
    """Four digits: more say nothing, and a manifest is read by people."""
    return float(f"{number:.4g}")


def _embed(source: WeightSource, passage: reference.Passage) -> Float32Array:
    return reference.read_weight(source, EMBEDDING)[passage.ids]


def _predictions(sample: Sample) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the hidden states that predict an id of the text, and these ids."""
    rows: list[int] = []
    targets: list[int] = []
    start = 0
    for window, places in zip(sample.windows, sample.predicted(), strict=True):
        rows += [start + place - 1 for place in places]
        targets += [window[place] for place in places]
        start += len(window)
    return np.array(rows), np.array(targets)
