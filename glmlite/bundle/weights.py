"""The weights of a bundle as the model's own parameters, however they are stored."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmlite.bundle.contents import read_index, unusable_index
from glmlite.quant.numerics import Quantized, dequantize
from glmlite.quant.packing import read_stored
from glmlite.toolchain.quantized import SCALE, SMOOTHING, ZERO_POINT, companions
from glmlite.toolchain.weights import INTEGERS


class BundleWeights:
    """A `WeightSource` over the shared weights file of a bundle.

    Args:
        index_path: of `weights/index.json`.
        prefix: of a set of weights, such as "prefill/"; what it lacks comes from the first set.
        folded: leave smoothing as the graphs have it, instead of undoing it.

    Raises:
        BundleError: the index does not hold.
    """

    def __init__(self, index_path: Path, prefix: str = "", *, folded: bool = False) -> None:
        self._index, self._prefix, self._folded = read_index(index_path), prefix, folded
        try:
            self._arrays: Mapping[str, NDArray[Any]] = self._index.map(os.fspath(index_path.parent))
        except (OSError, ValueError, TypeError) as error:
            raise unusable_index(index_path, str(error)) from error
        # Where rows of a parameter were divided by the smoothing of another.
        self._divided: dict[str, list[tuple[slice, NDArray[np.float32]]]] = {}
        for name, form in self._index.quantized.items():
            if "folded_into" in form and not folded:
                change = (slice(*form["rows"]), self._arrays[name + SMOOTHING])
                self._divided.setdefault(form["folded_into"], []).append(change)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Parameter name -> shape."""
        return {name: self._shape(self._find(name)) for name in self._index.parameters()}

    def form(self, name: str) -> Mapping[str, Any] | None:
        """How a parameter is stored (`glmlite.toolchain.quantized`); None for a plain one."""
        return self._index.quantized.get(self._find(name))

    def dtype(self, name: str) -> str:
        """The type of a parameter's values on disk, e.g. "float16"; of a quantized one "packed"."""
        found = self._find(name)
        return "packed" if found in self._index.quantized else str(self._arrays[found].dtype)

    def read(self, name: str) -> NDArray[Any]:
        """One parameter, float32 or float16, in memory of its own; a quantized one dequantized.

        What smoothing multiplied and divided is undone, so that every parameter can be held against
        the one that it was made from.
        """
        found = self._find(name)
        form = self._index.quantized.get(found)
        if form is not None:
            parts = companions(found, form)
            tensors = {part.removeprefix(found): self._arrays[part] for part in parts}
            array: NDArray[Any] = read_stored(dict(form), tensors)
            if SMOOTHING in tensors and not self._folded:
                array /= tensors[SMOOTHING]
        elif self._arrays[found].dtype.name in INTEGERS:
            scale, zero_point = self._arrays[found + SCALE], self._arrays[found + ZERO_POINT]
            array = dequantize(Quantized(self._arrays[found], scale, zero_point))
        else:
            array = np.array(self._arrays[found])
        for rows, smoothing in self._divided.get(found, ()):
            array[rows] *= smoothing.reshape(-1, *[1] * (array.ndim - 1))
        return array

    def smoothing(self, name: str) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
        """What smoothing did to a parameter: its columns times [in], its rows divided by [out]."""
        found = self._find(name)
        columns, rows = self._arrays.get(found + SMOOTHING), None
        for other, form in self._index.quantized.items():
            if form.get("folded_into") == found:
                rows = np.ones(self._shape(found)[0], np.float32)
                rows[slice(*form["rows"])] = self._arrays[other + SMOOTHING]
        return columns, rows

    def _find(self, name: str) -> str:
        return self._index.find(name, self._prefix)

    def _shape(self, found: str) -> tuple[int, ...]:
        form = self._index.quantized.get(found)
        return tuple(form["shape"]) if form is not None else self._arrays[found].shape
