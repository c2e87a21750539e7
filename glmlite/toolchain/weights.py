"""The weights file of a bundle, written by the parent and mapped by the toolchain.

`weights/data_0` has the layout that MindSpore gives external data: a header of 64 bytes whose first
one says little-endian, then every tensor at a multiple of 64 bytes. `weights/index.json` tells what
lies where, so the same file serves the export, the graphs and the reference.

A quantized matrix is an integer tensor `NAME` with two float32 companions, `NAME.scale` and
`NAME.zero_point`, one value for each row: a real value is (q + zero_point) * scale. Matrices for
ONNX Runtime are stored in other ways, which the index tells under "quantized" (`quantized.py`).
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from .quantized import PREFIXES, SCALE, ZERO_POINT, check_quantized, companions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

HEADER = b"\x01" + bytes(63)
ALIGNMENT = 64
INTEGERS = ("int8", "uint8")
DTYPES = ("float32", "float16", *INTEGERS)


class WeightsIndex:
    """`index.json`: what lies where in the data file.

    Args:
        file: the data file's name; it lies beside the index.
        tensors: name -> "dtype", "shape", "offset" and "nbytes".
        quantized: parameter name -> how it is stored, see `quantized.py`.
    """

    def __init__(
        self,
        file: str,
        tensors: Mapping[str, Mapping[str, Any]],
        quantized: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.file, self.tensors, self.quantized = file, tensors, quantized or {}

    @classmethod
    def read(cls, path: str) -> WeightsIndex:
        """Read and check an index.

        Args:
            path: of `index.json`; the data file beside it must hold every tensor.

        Raises:
            ValueError: it is malformed, or an entry lies outside the data file.
        """
        with open(path, encoding="utf-8") as handle:
            data = json.load(handle)
        file, tensors, quantized = data["file"], data["tensors"], data.get("quantized", {})
        if file != os.path.basename(file):
            raise ValueError("the data file %r lies outside the folder" % (file,))
        size = os.path.getsize(os.path.join(os.path.dirname(path), file))
        for name, entry in tensors.items():
            dtype, shape, offset = entry["dtype"], entry["shape"], entry["offset"]
            if dtype not in DTYPES or any(not isinstance(n, int) or n < 1 for n in shape):
                raise ValueError("%s: dtype %r, shape %r" % (name, dtype, shape))
            nbytes = np.dtype(dtype).itemsize
            for n in shape:
                nbytes *= n
            if nbytes != entry["nbytes"] or offset < len(HEADER) or offset + nbytes > size:
                raise ValueError("%s lies outside %s" % (name, file))
        check_quantized(quantized, tensors)
        index = cls(file, tensors, quantized)
        parts = index._parts()
        for name, entry in tensors.items():
            if entry["dtype"] in INTEGERS and name not in parts:
                for part in (name + SCALE, name + ZERO_POINT):
                    companion = tensors.get(part, {})
                    if (
                        companion.get("dtype") != "float32"
                        or companion["shape"] != entry["shape"][:1]
                    ):
                        raise ValueError("%s is quantized, and %s does not fit it" % (name, part))
        return index

    def _parts(self) -> set[str]:
        """Names of tensors that belong to entries of "quantized"."""
        return {part for name, form in self.quantized.items() for part in companions(name, form)}

    def parameters(self) -> list[str]:
        """Names of the model's parameters, those of a second set of weights left out."""
        parts = self._parts()
        for name, entry in self.tensors.items():
            if entry["dtype"] in INTEGERS and name not in parts:
                parts.update((name + SCALE, name + ZERO_POINT))
        names = [*(name for name in self.tensors if name not in parts), *self.quantized]
        return [name for name in names if not name.startswith(PREFIXES[1:])]

    def find(self, name: str, prefix: str = "") -> str:
        """The name under which a set of weights has a parameter: its own, or the first set's.

        Args:
            name: of the parameter.
            prefix: of the set of weights, "" for the first.
        """
        own = prefix + name
        return own if own in self.quantized or own in self.tensors else name

    def to_json(self) -> str:
        """The file's text."""
        data = {"file": self.file, "tensors": self.tensors}  # type: dict[str, Any]
        if self.quantized:
            data["quantized"] = self.quantized
        return json.dumps(data, indent=1) + "\n"

    def map(self, folder: str) -> dict[str, NDArray[Any]]:
        """Name -> array over one private mapping of the file (copied on write, never written)."""
        data = np.memmap(os.path.join(folder, self.file), dtype=np.uint8, mode="c")
        return {
            name: data[e["offset"] : e["offset"] + e["nbytes"]].view(e["dtype"]).reshape(e["shape"])
            for name, e in self.tensors.items()
        }
