"""How many bytes the weights of a model take, and how many of them a token reads."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from glmlite.errors import ConfigError
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import EMBEDDING, OUTPUT, parameter_shapes
from glmlite.planning.devices import Kind
from glmlite.quant.smoothing import fold_target
from glmlite.toolchain.quantized import PREFILL, companions
from glmlite.toolchain.weights import ALIGNMENT, HEADER, WeightsIndex

# How one matrix is stored; "w8a8" is what is multiplied as integers, column by column.
MatrixKind = Literal["float32", "float16", "int8", "w8a8", "int4"]
MATRIX_KINDS: tuple[MatrixKind, ...] = ("float32", "float16", "int8", "w8a8", "int4")
# What a bundle stores; "int4_w8a8" is a set of weights for decoding and one for prefill.
WeightKind = Literal["float32", "float16", "int8", "w8a8", "int4", "int4_w8a8"]
WEIGHTS: tuple[WeightKind, ...] = (*MATRIX_KINDS, "int4_w8a8")
# What decoding and what prefill multiplies with.
SETS: dict[WeightKind, tuple[MatrixKind, MatrixKind]] = {
    **{kind: (kind, kind) for kind in MATRIX_KINDS},
    "int4_w8a8": ("int4", "w8a8"),
}
FLOATS: tuple[MatrixKind, ...] = ("float32", "float16")
# What an engine's kernels know; others turn the weights into float as they load.
ON_DEVICE: dict[Kind, tuple[WeightKind, ...]] = {
    "ascend": ("float16", "int8"),
    "cpu": WEIGHTS,
}
BLOCK = 128
# Of the recipe cpu_w8a8's output layer.
_HEAD_BLOCK = 64


@dataclasses.dataclass(frozen=True)
class WeightSet:
    """The weights of one phase's graph.

    Attributes:
        kind: of most of its matrices.
        read: bytes that a step reads of them, as they are stored.
    """

    kind: MatrixKind
    read: int


@dataclasses.dataclass(frozen=True)
class Layout:
    """The tensors of a weights file.

    Attributes:
        tensors: name -> bytes, in the file's order.
        decode: what decoding reads. prefill: what prefill reads; the same but for a second set.
        embedding: bytes of them that are looked up, not multiplied with: one row a token is read.
        matrix_values: values of all matrices that are multiplied with.
        head_values: of these, the output layer's.
    """

    tensors: Mapping[str, int]
    decode: WeightSet
    prefill: WeightSet
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
    def kinds(self) -> tuple[MatrixKind, MatrixKind]:
        """What decoding and what prefill multiplies with."""
        return self.decode.kind, self.prefill.kind

    @property
    def name(self) -> WeightKind:
        """The kind of weights that this is, or is nearest to."""
        for kind, sets in SETS.items():
            if sets == self.kinds:
                return kind
        return self.decode.kind

    def as_float(self, size: int) -> int:
        """Bytes that a step reads where an engine turns the matrices into values of `size`."""
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
    point a row beside the integers, everything else float16. Integers on CPUs are those of the
    recipes cpu_int8, cpu_w8a8, cpu_int4 and cpu_int4_w8a8: blocks of 128 or columns, the output
    layer in blocks of 8 bits, the embedding in rows of int8, norms and biases float32. Factors that
    smoothing leaves in the file for the reference are not counted.

    Args:
        config: the network.
        weights: the kind.
        device: what the recipe is for.
    """
    first, second = SETS[weights]
    tensors: dict[str, int] = {}
    shapes = parameter_shapes(config)
    for name in sorted(shapes):
        tensors.update(_stored(name, shapes[name], first, device))
    if second != first:
        for name in _second_set(config):
            parts = _stored(name, shapes[name], second, device)
            tensors.update({PREFILL + part: nbytes for part, nbytes in parts.items()})
    return _layout(config, tensors, (first, second))


def layout_of_index(config: ModelConfig, index: WeightsIndex) -> Layout:
    """What a bundle does store."""
    tensors = {name: int(entry["nbytes"]) for name, entry in index.tensors.items()}
    return _layout(config, tensors, (_kind(config, index, ""), _kind(config, index, PREFILL)))


def _layout(
    config: ModelConfig, tensors: Mapping[str, int], kinds: tuple[MatrixKind, MatrixKind]
) -> Layout:
    shapes = parameter_shapes(config)

    def parameter(tensor: str) -> str:
        return tensor if tensor.removeprefix(PREFILL) in shapes else tensor.rpartition(".")[0]

    def nbytes(parameters: Iterable[str]) -> int:
        return sum(sizes[name] for name in parameters)

    sizes: Counter[str] = Counter()
    for tensor, count in tensors.items():
        sizes[parameter(tensor)] += count
    second = [name for name in sizes if name.startswith(PREFILL)]
    replaced = nbytes(name.removeprefix(PREFILL) for name in second)
    multiplied = sum(tensors.values()) - sizes[EMBEDDING]
    return Layout(
        tensors,
        WeightSet(kinds[0], multiplied - nbytes(second)),
        WeightSet(kinds[1], multiplied - replaced),
        sizes[EMBEDDING],
        *_matrix_values(config),
    )


def _kind(config: ModelConfig, index: WeightsIndex, prefix: str) -> MatrixKind:
    """What most of the values that a set of weights multiplies with are stored as."""
    found: Counter[MatrixKind] = Counter()
    for parameter, shape in parameter_shapes(config).items():
        if len(shape) == 2 and parameter != EMBEDDING:
            name = index.find(parameter, prefix)
            form = index.quantized.get(name) or {"plain": index.tensors[name]["dtype"]}
            found[_kind_of(form)] += math.prod(shape)
    return found.most_common(1)[0][0]


def _kind_of(form: Mapping[str, Any]) -> MatrixKind:
    if "plain" in form:
        dtype = form["plain"]
        return next((kind for kind in FLOATS if kind == dtype), "int8")
    if form["scheme"] == "column":
        return "w8a8"
    return "int4" if form["bits"] == 4 else "int8"


def _second_set(config: ModelConfig) -> list[str]:
    """What prefill has for itself: the layers' matrices, and norms that take their smoothing."""
    shapes = parameter_shapes(config)
    own = {n for n, s in shapes.items() if len(s) == 2} - {EMBEDDING, OUTPUT}
    targets = (fold_target(name, config) for name in own)
    return sorted(own | {target[0] for target in targets if target is not None})


def _matrix_values(config: ModelConfig) -> tuple[int, int]:
    shapes = parameter_shapes(config)
    values = sum(math.prod(s) for n, s in shapes.items() if len(s) == 2 and n != EMBEDDING)
    return values, math.prod(shapes[OUTPUT])


def _stored(name: str, shape: tuple[int, ...], weights: MatrixKind, device: Kind) -> dict[str, int]:
    """Tensor name -> bytes of one parameter."""
    if weights in FLOATS:
        return {name: _nbytes(weights, shape)}
    if len(shape) != 2 or (name == EMBEDDING and device == "ascend"):
        return {name: _nbytes("float16" if device == "ascend" else "float32", shape)}
    if device == "ascend":
        rows = _nbytes("float32", shape[:1])
        return {name: _nbytes("int8", shape), name + ".scale": rows, name + ".zero_point": rows}
    form = {"scheme": "row", "bits": 8} if name == EMBEDDING else _form(name, weights)
    parts = companions(name, form | {"shape": list(shape)})
    return {part: _nbytes(dtype, tuple(size)) for part, (dtype, size) in parts.items()}


def _form(name: str, weights: MatrixKind) -> dict[str, Any]:
    """How a recipe for CPUs stores a matrix."""
    if name == OUTPUT:
        return matrix_form("int8") | ({"block_size": _HEAD_BLOCK} if weights == "w8a8" else {})
    return matrix_form(weights)


def matrix_form(kind: MatrixKind) -> dict[str, Any]:
    """The entry in a weights index, less its shape, of a matrix in integers for CPUs."""
    if kind == "w8a8":
        return {"scheme": "column", "bits": 7}
    bits = 4 if kind == "int4" else 8
    return {"scheme": "block", "bits": bits, "block_size": BLOCK, "symmetric": True}


def _nbytes(dtype: str, shape: tuple[int, ...]) -> int:
    return np.dtype(dtype).itemsize * math.prod(shape)
