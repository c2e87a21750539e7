"""What a MindIR takes and gives, read from the file: enough to tell whose contract it follows.

    GraphProto:     input = 5, output = 6 (repeated ValueInfoProto)
    ValueInfoProto: name = 1, tensor = 2 (TensorProto), attr_info = 5 (AttributeProto, of a tuple)
    TensorProto:    dims = 1, data_type = 2
    AttributeProto: tensors = 12, values = 17

Source: mindspore/core/proto/mind_ir.proto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .mindir import GRAPH_PARAMETER, TENSOR_NAME, MindIRError, fields, graph_of, open_file

if TYPE_CHECKING:
    import mmap
    from collections.abc import Sequence

    from .mindir import Field

GRAPH_INPUT, GRAPH_OUTPUT = 5, 6
VALUE_NAME, VALUE_TENSOR, VALUE_ATTRIBUTE = 1, 2, 5
TENSOR_DIMS, TENSOR_TYPE = 1, 2
ATTRIBUTE_TENSORS, ATTRIBUTE_VALUES = 12, 17
_VARINT, _BYTES = 0, 2
# Numbers of TensorProto.DataType that graphs of language models use.
DTYPES = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 10: "float16"}
_MAX_DEPTH = 4
_MAX_VALUES = 4096


class TensorInfo(NamedTuple):
    """One input or output: its plain name, its dims (-1: dynamic), its dtype ("?" if unknown)."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Signature(NamedTuple):
    """A graph's inputs and outputs in order, and the shapes of its parameters by name."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    parameters: dict[str, tuple[int, ...]]


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _text(data: mmap.mmap, field: Field) -> str:
    # MindSpore puts the graph's name before the argument's.
    return data[field.first : field.end].decode("utf-8", "replace").rsplit(":", 1)[-1]


def _tensor(data: mmap.mmap, tensor: Field, name: str) -> TensorInfo:
    shape, dtype = [], "?"
    for field in fields(data, tensor.first, tensor.end):
        if field.number == TENSOR_DIMS and field.wire == _VARINT:
            shape.append(_signed(field.value))
        elif field.number == TENSOR_DIMS and field.wire == _BYTES:
            raise MindIRError("packed dimensions")
        elif field.number == TENSOR_TYPE and field.wire == _VARINT:
            dtype = DTYPES.get(field.value, "?")
    return TensorInfo(name, tuple(shape), dtype)


def _tuple(data: mmap.mmap, attribute: Field, depth: int = 0) -> list[TensorInfo]:
    """The tensors of a tuple's description, nested ones in order."""
    found = []  # type: list[TensorInfo]
    if depth > _MAX_DEPTH:
        raise MindIRError("tuples nested too deeply")
    for field in fields(data, attribute.first, attribute.end):
        if field.wire == _BYTES and field.number == ATTRIBUTE_TENSORS:
            found.append(_tensor(data, field, ""))
        elif field.wire == _BYTES and field.number == ATTRIBUTE_VALUES:
            found += _tuple(data, field, depth + 1)
        if len(found) > _MAX_VALUES:
            raise MindIRError("too many values")
    return found


def _values(data: mmap.mmap, value: Field) -> list[TensorInfo]:
    name = ""
    found = []  # type: list[TensorInfo]
    for field in fields(data, value.first, value.end):
        if field.wire != _BYTES:
            continue
        if field.number == VALUE_NAME:
            name = _text(data, field)
        elif field.number == VALUE_TENSOR:
            found.append(_tensor(data, field, name))
        elif field.number == VALUE_ATTRIBUTE:
            found += _tuple(data, field)
    return [info._replace(name=name) for info in found]


def _parameter(data: mmap.mmap, tensor: Field) -> TensorInfo:
    names = [
        _text(data, field)
        for field in fields(data, tensor.first, tensor.end)
        if field.number == TENSOR_NAME and field.wire == _BYTES
    ]
    return _tensor(data, tensor, names[0] if names else "")


def read_signature(path: str) -> Signature:
    """The signature of a MindIR; no weights are read.

    Raises:
        MindIRError: this is no MindIR.
        OSError: it cannot be read.
    """
    inputs, outputs = [], []  # type: list[TensorInfo], list[TensorInfo]
    parameters = {}  # type: dict[str, tuple[int, ...]]
    with open_file(path) as data:
        graph = graph_of(data)
        for field in fields(data, graph.first, graph.end):
            if field.wire != _BYTES:
                continue
            if field.number == GRAPH_INPUT:
                inputs += _values(data, field)
            elif field.number == GRAPH_OUTPUT:
                outputs += _values(data, field)
            elif field.number == GRAPH_PARAMETER:
                info = _parameter(data, field)
                parameters[info.name] = info.shape
            if len(inputs) > _MAX_VALUES:
                raise MindIRError("too many inputs")
    return Signature(tuple(inputs), tuple(outputs), parameters)


def describe(inputs: Sequence[Any]) -> str:
    """Inputs in one line, for messages."""
    return ", ".join("%s %s %s" % (i.name, i.dtype, list(i.shape)) for i in inputs[:6])
