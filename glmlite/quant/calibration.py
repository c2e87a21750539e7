"""What enters each matrix of a network while it reads a text: the basis of better rounding.

Layers stream through memory one at a time, with the activations of all windows kept, so that it
works for 6B on a laptop.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glmlite.checkpoint import WeightSource
from glmlite.i18n import _
from glmlite.model import reference
from glmlite.model.config import ModelConfig
from glmlite.progress import Progress
from glmlite.quant.overflow import check_activations, check_hidden, largest_of
from glmlite.quant.sample import Sample

Float32Array = NDArray[np.float32]
Prefix = Sequence[tuple[Float32Array, Float32Array]]

# Values that are squared at a time.
_BLOCK = 1 << 22


@dataclasses.dataclass(frozen=True)
class ActivationStats:
    """What entered one matrix, over all tokens of a text.

    Attributes:
        absmax: float32 [in], each channel's largest absolute value.
        mean_square: float32 [in], each channel's mean square.
        minimum: of all channels. maximum: the same.
        tokens: rows that were seen, with those of `[gMASK] sop`.
    """

    absmax: Float32Array
    mean_square: Float32Array
    minimum: float
    maximum: float
    tokens: int


def statistics(x: Float32Array, name: str = "-") -> ActivationStats:
    """The statistics of one matrix' input.

    Args:
        x: float32 [tokens, in], tokens ≥ 1.
        name: of the matrix, for messages.

    Raises:
        CheckpointError: what entered the matrix is not finite, or too large to go on with.
    """
    with np.errstate(invalid="ignore"):
        low, high = x.min(axis=0), x.max(axis=0)
    check_activations(name, float(np.maximum(high.max(), -low.min())))
    squares = np.zeros(x.shape[1], np.float64)
    rows = max(1, _BLOCK // x.shape[1])
    for start in range(0, len(x), rows):
        squares += np.square(x[start : start + rows], dtype=np.float64).sum(axis=0)
    return ActivationStats(
        absmax=np.maximum(np.abs(low), np.abs(high)),
        mean_square=(squares / len(x)).astype(np.float32),
        minimum=float(low.min()),
        maximum=float(high.max()),
        tokens=len(x),
    )


def collect(
    model: ModelConfig,
    source: WeightSource,
    sample: Sample,
    prefix: Prefix | None,
    progress: Progress,
) -> dict[str, ActivationStats]:
    """Statistics of what enters every matrix: those of the layers, and the output layer.

    Args:
        model: the network.
        source: its float weights: a bundle's or a checkpoint's.
        sample: the text.
        prefix: P-Tuning keys and values per layer, or None.
        progress: gets one stage with one step a layer.

    Returns:
        By the matrix' Hugging Face name, in the order of computing.

    Raises:
        CheckpointError: a weight cannot be read, or the network overflows.
    """
    found: dict[str, ActivationStats] = {}

    def note(name: str, x: Float32Array) -> None:
        found[name] = statistics(x, name)

    observe_network(model, source, sample, prefix, note, progress)
    return found


def observe_network(
    model: ModelConfig,
    source: WeightSource,
    sample: Sample,
    prefix: Prefix | None,
    observe: reference.Observer,
    progress: Progress,
) -> None:
    """Run the network over a text for what `observe` sees of it; the logits are not computed.

    Args:
        model: see `collect`, like the others.
        source: the float weights.
        sample: the text.
        prefix: P-Tuning keys and values.
        observe: gets each matrix' name and input, float32 [tokens, in], which lives only as long as
            the call; what it returns replaces the input.
        progress: gets one stage with one step a layer.

    Raises:
        CheckpointError: a weight cannot be read, or the network overflows.
    """
    progress.stage(_("Calibrating"), model.num_layers, _("layers"))
    run_layers(model, source, sample.windows, prefix, observe, progress)


def run_layers(
    model: ModelConfig,
    source: WeightSource,
    windows: Sequence[Sequence[int]],
    prefix: Prefix | None,
    observe: reference.Observer,
    progress: Progress,
) -> Float32Array:
    """What enters the output layer, after a look at everything that enters a matrix before.

    Args:
        model: see `observe_network`, like the others.
        source: the weights.
        windows: ids, each from position 0 on.
        prefix: P-Tuning keys and values.
        observe: see there.
        progress: advances by one for each layer.

    Returns:
        float32 [tokens, hidden], the windows one after the other.

    Raises:
        CheckpointError: a weight cannot be read, or the network overflows.
    """

    def checked(name: str, x: Float32Array) -> Float32Array | None:
        check_activations(name, largest_of(x))
        return observe(name, x)

    # What overflows is found by looking, and said in one sentence.
    with np.errstate(over="ignore", invalid="ignore"):
        states = reference.hidden_states(model, source, windows, prefix=prefix, observe=checked)
        for layer, hidden in enumerate(states):
            check_hidden(model, layer, hidden)
            if layer:
                progress.advance()
        return reference.output_input(model, source, hidden, observe=checked)
