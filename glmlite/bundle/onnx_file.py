"""What `read_onnx_file` tells of an ONNX file: its operators, and where its weights lie."""

from __future__ import annotations

import dataclasses

# TensorProto.DataType of what glmlite's graphs hold, and the bytes of one element.
DATA_TYPES = {
    1: ("float32", 4),
    2: ("uint8", 1),
    3: ("int8", 1),
    6: ("int32", 4),
    7: ("int64", 8),
    9: ("bool", 1),
    10: ("float16", 2),
}
Dimension = int | str


class OnnxFileError(Exception):
    """The file is no ONNX graph, is damaged, or holds what glmlite does not open."""


@dataclasses.dataclass(frozen=True)
class TensorType:
    """An input or output: its dtype, and its dimensions (symbolic ones are names, maybe "")."""

    name: str
    dtype: str
    shape: tuple[Dimension, ...]


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """An initializer; `location` is None where the graph's own file holds it.

    Attributes:
        name: of the tensor. dtype: as in NumPy. shape: its dimensions.
        location: path relative to the graph's folder, as written there.
        offset: first byte. length: bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    location: str | None
    offset: int
    length: int


@dataclasses.dataclass(frozen=True)
class OnnxFile:
    """One ONNX file.

    Attributes:
        opsets: domain -> version.
        operators: (domain, name) -> how many nodes.
        inputs: all that are declared, those with a default value too.
        outputs: in order.
        initializers: weights and constants.
    """

    opsets: dict[str, int]
    operators: dict[tuple[str, str], int]
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    initializers: tuple[StoredTensor, ...]

    def counts(self, operator: str) -> int:
        """Nodes of this operator, whatever their domain."""
        return sum(n for (_domain, name), n in self.operators.items() if name == operator)

    @property
    def domains(self) -> set[str]:
        """Of all operators and operator sets."""
        return {domain for domain, _name in self.operators} | set(self.opsets)

    @property
    def required_inputs(self) -> tuple[TensorType, ...]:
        """Inputs without a default value."""
        stored = {tensor.name for tensor in self.initializers}
        return tuple(info for info in self.inputs if info.name not in stored)
