"""What an ONNX file says of itself, read without `onnx` and before ONNX Runtime opens it.

A small wire-format walker, as for MindIR: it streams, never copies weights, and treats every length
as hostile. What glmlite's graphs never hold, and what would widen what a stranger's file can do, is
refused here: subgraphs, functions, training parts, sparse tensors, tensors of attributes that lie
in other files.

    ModelProto:    graph = 7, opset_import = 8, training_info = 20, functions = 25
    GraphProto:    node = 1, initializer = 5, input = 11, output = 12, sparse_initializer = 15
    NodeProto:     op_type = 4, attribute = 5, domain = 7
    TensorProto:   dims = 1, data_type = 2, name = 8, external_data = 13, data_location = 14

Sources: onnx/onnx.proto; for the wire format, protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from glmlite.bundle.onnx_file import (
    DATA_TYPES,
    Dimension,
    OnnxFile,
    OnnxFileError,
    StoredTensor,
    TensorType,
)
from glmlite.toolchain.mindir import Field, MindIRError, fields, open_file

# Far above a graph of any model: 2,000 nodes for 28 layers in standard operators.
MAX_NODES = 100_000
MAX_INITIALIZERS = 100_000
_MAX_NAME = 4096
_VARINT, _BYTES = 0, 2
_EXTERNAL = 1
_EXTERNAL_KEYS = {"location", "offset", "length"}


def read_onnx_file(path: Path) -> OnnxFile:
    """Read one.

    Raises:
        OnnxFileError: says what is wrong.
        OSError: it cannot be read.
    """
    try:
        with open_file(os.fspath(path)) as data:
            return _Reader(data).read()
    except (MindIRError, UnicodeDecodeError) as error:
        raise OnnxFileError(str(error)) from error


class _Reader:
    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._opsets: dict[str, int] = {}
        self._operators: dict[tuple[str, str], int] = {}
        self._nodes = 0
        self._inputs: list[TensorType] = []
        self._outputs: list[TensorType] = []
        self._initializers: list[StoredTensor] = []

    def read(self) -> OnnxFile:
        has_graph = False
        for field in fields(self._data, 0, len(self._data)):
            if field.wire != _BYTES:
                continue
            if field.number == 7:  # a second one would be merged into the first
                has_graph = True
                self._graph(field)
            elif field.number == 8:
                domain, version = "", 0
                for part in self._parts(field):
                    if part.number == 1:
                        domain = self._text(part)
                    elif part.number == 2:
                        version = part.value
                self._opsets[_plain(domain)] = version
            elif field.number in (20, 25):
                raise OnnxFileError("it holds functions or a training part")
        if not has_graph or not self._opsets:
            raise OnnxFileError("it holds no graph")
        return OnnxFile(
            self._opsets,
            self._operators,
            tuple(self._inputs),
            tuple(self._outputs),
            tuple(self._initializers),
        )

    def _parts(self, field: Field) -> Iterator[Field]:
        if field.wire != _BYTES:
            raise OnnxFileError("a message is none")
        return fields(self._data, field.first, field.end)

    def _text(self, field: Field) -> str:
        if field.wire != _BYTES or field.end - field.first > _MAX_NAME:
            raise OnnxFileError("a name is none, or is very long")
        return self._data[field.first : field.end].decode("utf-8")

    def _graph(self, graph: Field) -> None:
        for field in self._parts(graph):
            if field.number == 1:
                self._node(field)
            elif field.number == 5:
                self._initializers.append(self._tensor(field))
            elif field.number == 11:
                self._inputs.append(self._value(field))
            elif field.number == 12:
                self._outputs.append(self._value(field))
            elif field.number == 15:
                raise OnnxFileError("it holds sparse tensors")
            if max(self._nodes, len(self._inputs), len(self._outputs)) > MAX_NODES:
                raise OnnxFileError(f"it has more than {MAX_NODES} nodes")
            if len(self._initializers) > MAX_INITIALIZERS:
                raise OnnxFileError(f"it has more than {MAX_INITIALIZERS} tensors")

    def _node(self, node: Field) -> None:
        operator = domain = ""
        self._nodes += 1
        for field in self._parts(node):
            if field.number == 4:
                operator = self._text(field)
            elif field.number == 7:
                domain = _plain(self._text(field))
            elif field.number == 5:
                self._attribute(field)
        key = (domain, operator)
        self._operators[key] = self._operators.get(key, 0) + 1

    def _attribute(self, attribute: Field) -> None:
        for field in self._parts(attribute):
            if field.number in (5, 10):
                if self._tensor(field).location is not None:
                    raise OnnxFileError("an attribute's tensor lies in another file")
            elif field.number in (6, 11):
                raise OnnxFileError("a node holds a subgraph")
            elif field.number in (22, 23):
                raise OnnxFileError("it holds sparse tensors")

    def _tensor(self, tensor: Field) -> StoredTensor:
        name, kind, external = "", 0, False
        shape: list[int] = []
        places: list[Field] = []
        for field in self._parts(tensor):
            if field.number == 1:
                shape += self._integers(field)
            elif field.number == 2:
                kind = field.value
            elif field.number == 8:
                name = self._text(field)
            elif field.number == 13:
                places.append(field)
            elif field.number == 14:
                external = field.value == _EXTERNAL
        if kind not in DATA_TYPES or any(n >= 2**63 for n in shape) or len(shape) > 8:
            raise OnnxFileError(f"the tensor {name} has dtype {kind} and shape {shape[:8]}")
        dtype, size = DATA_TYPES[kind]
        if not external and not places:
            return StoredTensor(name, dtype, tuple(shape), None, 0, 0)
        place = self._place(name, places)
        for n in shape:
            size *= n
        if place[2] != size:
            raise OnnxFileError(f"{name} has {place[2]} bytes where its shape takes {size}")
        return StoredTensor(name, dtype, tuple(shape), *place)

    def _place(self, name: str, places: list[Field]) -> tuple[str, int, int]:
        found: dict[str, str] = {}
        for place in places:
            key = value = ""
            for part in self._parts(place):
                if part.number == 1:
                    key = self._text(part)
                elif part.number == 2:
                    value = self._text(part)
            if key in found or key not in _EXTERNAL_KEYS:
                raise OnnxFileError(f"where {name} lies is told by {key[:40]!r}, or told twice")
            found[key] = value
        numbers = [found.get("offset", "0"), found.get("length", "")]
        if not found.get("location") or not all(
            n.isascii() and n.isdigit() and len(n) < 20 for n in numbers
        ):
            raise OnnxFileError(f"where {name} lies is not told in location, offset and length")
        return found["location"], int(numbers[0]), int(numbers[1])

    def _value(self, value: Field) -> TensorType:
        name, kind = "", 0
        shape: list[Dimension] = []
        for field in self._parts(value):
            if field.number == 1:
                name = self._text(field)
            elif field.number == 2:
                for holder in self._parts(field):
                    if holder.number != 1:
                        raise OnnxFileError(f"{name} is no tensor")
                    for part in self._parts(holder):
                        if part.number == 1:
                            kind = part.value
                        elif part.number == 2:
                            shape += [self._dimension(d) for d in self._parts(part)]
        return TensorType(name, DATA_TYPES.get(kind, ("?", 0))[0], tuple(shape))

    def _dimension(self, dimension: Field) -> Dimension:
        found: Dimension = ""
        for part in self._parts(dimension):
            if part.number == 1:
                found = part.value
            elif part.number == 2:
                found = self._text(part)
        return found

    def _integers(self, field: Field) -> list[int]:
        """A repeated number, packed or not."""
        if field.wire == _VARINT:
            return [field.value]
        if field.wire != _BYTES or field.end - field.first > _MAX_NAME:
            raise OnnxFileError("a shape is none")
        found, value, shift = [], 0, 0
        for byte in self._data[field.first : field.end]:
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                found.append(value)
                value = shift = 0
        return found


def _plain(domain: str) -> str:
    """The two names of the standard domain as one."""
    return "" if domain == "ai.onnx" else domain
