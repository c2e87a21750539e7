"""Writes the weights file that a recipe for CPUs asks for, one matrix in memory at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmlite.bundle.manifest import FileEntry
from glmlite.checkpoint import WeightSource
from glmlite.errors import CheckpointError
from glmlite.exporter.weights import WeightsFile
from glmlite.model.config import ModelConfig
from glmlite.model.layer import UP
from glmlite.model.parameters import layer_prefix, parameter_shapes
from glmlite.progress import Progress
from glmlite.quant.calibration import ActivationStats
from glmlite.quant.cpu_recipe import Choice
from glmlite.quant.packing import Stored, store_blocks, store_columns, store_rows
from glmlite.quant.smoothing import find_outliers, fold_target, smooth_blocks, smooth_columns
from glmlite.toolchain.quantized import PREFILL, SMOOTHING
from glmlite.toolchain.weights import WeightsIndex

Float32Array = NDArray[np.float32]
Choices = Mapping[str, Choice]
Stats = Mapping[str, ActivationStats]


def write_cpu_weights(
    source: WeightSource,
    config: ModelConfig,
    first: Choices,
    second: Choices | None,
    stats: Stats,
    folder: Path,
    progress: Progress,
) -> tuple[WeightsIndex, FileEntry]:
    """Write every parameter into a new folder.

    Args:
        source: the float weights.
        config: of the model.
        first: matrix name -> how it is stored.
        second: the same for the prefill graph's own weights, or None.
        stats: of what enters the matrices whose choices ask for it.
        folder: made here.
        progress: advances by one for each parameter of each set.

    Returns:
        What lies where, and the data file's size and hash.

    Raises:
        CheckpointError: a parameter cannot be read, or holds NaN or infinity.
    """
    with WeightsFile(folder) as file:
        _Set(file, source, config, first, stats, "", progress).write()
        if second is not None:
            _Set(file, source, config, second, stats, PREFILL, progress).write()
    return file.index, file.entry


class _Set:
    """One set of weights on its way into the file."""

    def __init__(
        self,
        file: WeightsFile,
        source: WeightSource,
        config: ModelConfig,
        choices: Choices,
        stats: Stats,
        prefix: str,
        progress: Progress,
    ) -> None:
        self._file, self._source, self._config = file, source, config
        self._choices, self._stats = choices, stats
        self._prefix, self._progress = prefix, progress
        # Parameter -> what its rows must be divided by, and which.
        self._divisors: dict[str, tuple[tuple[int, int], Float32Array]] = {}

    def write(self) -> None:
        """Write all: what is smoothed before what takes the other half."""
        names = sorted(parameter_shapes(self._config))
        matrices = [name for name in names if name in self._choices]
        # The MLP's second matrix divides rows of its first.
        late = {layer_prefix(layer) + UP for layer in range(self._config.num_layers)}
        for name in sorted(matrices, key=lambda name: name in late):
            self._write_matrix(name)
        for name in names:
            if name not in self._choices:
                self._write_vector(name)

    def _write_matrix(self, name: str) -> None:
        choice = self._choices[name]
        if choice.scheme != "share":
            weight = self._divided(name, self._source.read(name))
            if choice.scheme == "float32":
                self._add_plain(name, weight)
            else:
                stored = self._store(name, choice, weight)
                self._file.add_quantized(self._prefix + name, stored.form, stored.tensors)
        self._progress.advance()

    def _write_vector(self, name: str) -> None:
        """A norm or a bias; a second set has norms of its own where the first one's are folded."""
        if not self._prefix or self._is_own_norm(name):
            self._add_plain(name, self._divided(name, self._source.read(name)))
        self._progress.advance()

    def _is_own_norm(self, name: str) -> bool:
        for matrix, choice in self._choices.items():
            target = fold_target(matrix, self._config)
            if target is not None and target[0] == name and choice.scheme != "share":
                return True
        return False

    def _add_plain(self, name: str, array: NDArray[Any]) -> None:
        if not np.isfinite(array).all():
            raise CheckpointError(
                "Tensor {name} holds NaN or infinity; it cannot be quantized.",
                hint="Check the bundle: glmlite inspect BUNDLE --verify",
                name=name,
            )
        self._file.add(self._prefix + name, np.ascontiguousarray(array, np.float32))

    def _divided(self, name: str, weight: NDArray[Any]) -> NDArray[Any]:
        if name not in self._divisors:
            return weight
        (first, behind), factors = self._divisors[name]
        result = weight.astype(np.float32)
        result[first:behind] /= factors.reshape(-1, *[1] * (result.ndim - 1))
        return result

    def _store(self, name: str, choice: Choice, weight: NDArray[Any]) -> Stored:
        if choice.scheme == "row":
            return store_rows(weight, method=choice.method, name=name)
        stats = self._stats.get(name)
        factors = self._smoothing(name, choice, weight)
        importance: Float32Array | None = None if stats is None else stats.mean_square
        if factors is not None and importance is not None:
            importance = np.divide(importance, np.square(factors))
        if choice.scheme == "block":
            stored = store_blocks(
                weight,
                choice.bits,
                choice.block_size,
                symmetric=choice.symmetric,
                method=choice.method,
                importance=importance,
                smoothing=factors,
                name=name,
            )
            stored.form["accuracy_level"] = choice.accuracy_level
        else:
            outliers = None
            if choice.outliers and stats is not None:
                outliers = find_outliers(stats, factors, choice.outliers)
            stored = store_columns(
                weight,
                choice.bits,
                method=choice.method,
                importance=importance,
                smoothing=factors,
                outliers=outliers,
                name=name,
            )
        if factors is not None:
            target, rows = fold_target(name, self._config) or ("", (0, 0))
            self._divisors[target] = rows, factors
            stored.form.update(folded_into=self._prefix + target, rows=list(rows))
            stored.tensors[SMOOTHING] = factors
        return stored

    def _smoothing(self, name: str, choice: Choice, weight: NDArray[Any]) -> Float32Array | None:
        stats = self._stats.get(name)
        if stats is None or not choice.is_smoothed or fold_target(name, self._config) is None:
            return None
        if choice.scheme == "block":
            return smooth_blocks(
                weight,
                stats,
                choice.bits,
                choice.block_size,
                choice.symmetric,
                rounds_inputs=choice.accuracy_level == 4,
            )
        return smooth_columns(weight, stats, choice.bits)
