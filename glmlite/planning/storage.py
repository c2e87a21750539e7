"""How many bytes the weights of a model take, and how many of them a token reads."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from glmlite.errors import ConfigError
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import EMBEDDING, OUTPUT, parameter_shapes
from glmlite.planning.devices import Kind
from glmlite.toolchain.quantized import companions
from glmlite.toolchain.weights import ALIGNMENT, HEADER, WeightsIndex

WeightKind = Literal["float32", "float16", "int8", "int4"]
WEIGHTS: tuple[WeightKind, ...] = ("float32", "float16", "int8", "int4")
# What an engine's kernels know; others turn the weights into float as they load.
ON_DEVICE: dict[Kind, tuple[WeightKind, ...]] = {
    "ascend": ("float16", "int8"),
    "cpu": ("float32", "float16", "int8", "int4"),
}
_BLOCK = 128


@dataclasses.dataclass(frozen=True)
class Layout:
    """The tensors of a weights file.

    Attributes:
        tensors: name -> bytes, in the file's order.
        embedding: bytes of them that are looked up, not multiplied with: one row a token is read.
        matrix_values: values of all matrices that are multiplied with.
        head_values: of these, the output layer's.
    """

    tensors: Mapping[str, int]
    embedding: int
    matrix_values: int
    head_values: int

    @property
    def total(self) -> int:
        """Bytes of all tensors."""
        return sum(self.tensors.values())

    @property
    def file(self) -> int:
        """Bytes of the data file: a header, and every tensor at the next aligned offset."""
        return len(HEADER) + sum(n + -n % ALIGNMENT for n in self.tensors.values())

    @property
    def read_per_token(self) -> int:
        """Bytes that decoding one token reads, as they are stored."""
        return self.total - self.embedding

    def as_float(self, size: int) -> int:
        """`read_per_token` where an engine turns the matrices into values of `size` bytes."""
        return self.matrix_values * size


def find_weights(name: str) -> WeightKind:
    """A kind of weights by name.

    Raises:
        ConfigError: it is unknown.
    """
    for kind in WEIGHTS:
        if name == kind:
            return kind
    near = difflib.get_close_matches(name, WEIGHTS, n=1, cutoff=0.0)[0]
    raise ConfigError(
        "There are no weights {name!r}; the nearest are {near}. All: {known}.",
        name=name[:40],
        near=near,
        known=", ".join(WEIGHTS),
    )


def layout(config: ModelConfig, weights: WeightKind, device: Kind) -> Layout:
    """What a bundle of these weights stores.

    float32 and float16 are plain. int8 on Ascend is `ascend_on_the_fly_quant`'s: one scale and zero
    point a row beside the integers, everything else float16. int8 and int4 on CPUs are those of the
    recipes cpu_int8 and cpu_int4: blocks of 128, the output layer in 8 bits, the embedding in rows
    of int8, norms and biases float32.

    Args:
        config: the network.
        weights: the kind.
        device: what the recipe is for.
    """
    tensors: dict[str, int] = {}
    embedding = 0
    shapes = parameter_shapes(config)
    for name in sorted(shapes):
        parts = _stored(name, shapes[name], weights, device)
        tensors.update(parts)
        if name == EMBEDDING:
            embedding = sum(parts.values())
    return Layout(tensors, embedding, *_matrix_values(config))


def layout_of_index(config: ModelConfig, index: WeightsIndex) -> Layout:
    """What a bundle does store."""
    tensors = {name: int(entry["nbytes"]) for name, entry in index.tensors.items()}
    own = {n for n in tensors if n == EMBEDDING or n.startswith(EMBEDDING + ".")}
    return Layout(tensors, sum(tensors[n] for n in own), *_matrix_values(config))


def _matrix_values(config: ModelConfig) -> tuple[int, int]:
    shapes = parameter_shapes(config)
    values = sum(math.prod(s) for n, s in shapes.items() if len(s) == 2 and n != EMBEDDING)
    return values, math.prod(shapes[OUTPUT])


def _stored(name: str, shape: tuple[int, ...], weights: WeightKind, device: Kind) -> dict[str, int]:
    """Tensor name -> bytes of one parameter."""
    if weights in ("float32", "float16"):
        return {name: _nbytes(weights, shape)}
    if len(shape) != 2 or (name == EMBEDDING and device == "ascend"):
        return {name: _nbytes("float16" if device == "ascend" else "float32", shape)}
    if device == "ascend":
        rows = _nbytes("float32", shape[:1])
        return {name: _nbytes("int8", shape), name + ".scale": rows, name + ".zero_point": rows}
    bits = 4 if weights == "int4" and name != OUTPUT else 8
    form: dict[str, Any] = {"scheme": "row", "bits": 8, "shape": list(shape)}
    if name != EMBEDDING:
        form |= {"scheme": "block", "bits": bits, "block_size": _BLOCK, "symmetric": True}
    return {
        part: _nbytes(dtype, tuple(size)) for part, (dtype, size) in companions(name, form).items()
    }


def _nbytes(dtype: str, shape: tuple[int, ...]) -> int:
    return np.dtype(dtype).itemsize * math.prod(shape)
