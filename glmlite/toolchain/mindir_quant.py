"""Scales and zero points that Lite's converter leaves in a MindIR beside its int8 weights.

TensorProto:     dims = 1, data_type = 2, quant_params = 17
QuantParamProto: attribute = 2 (repeated AttributeProto)
AttributeProto:  name = 1, doubles = 9, ints = 10, values = 17 (repeated AttributeProto)
"""

from __future__ import annotations

import dataclasses
import struct
from typing import TYPE_CHECKING

from .mindir import (
    _BYTES,
    _VARINT,
    GRAPH_PARAMETER,
    MindIRError,
    _parse_parameter,
    _read_varint,
    fields,
    graph_of,
    open_file,
)

if TYPE_CHECKING:
    import mmap

    from .mindir import Field, StoredParameter

TENSOR_DIMS, TENSOR_TYPE, TENSOR_QUANT = 1, 2, 17
QUANT_ATTRIBUTE = 2
ATTRIBUTE_NAME, ATTRIBUTE_DOUBLES, ATTRIBUTE_INTS, ATTRIBUTE_VALUES = 1, 9, 10, 17
# TensorProto.DataType
DATA_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 10: "float16"}
_FIXED64 = 1


@dataclasses.dataclass(frozen=True)
class TypedParameter:
    """A parameter with its type and, where it is quantized, how to read it.

    Attributes:
        stored: where its bytes lie.
        dtype: NumPy's name; "" for one that glmlite does not know.
        shape: its dimensions.
        scales: one, or one a row; empty where it is not quantized.
        zero_points: the same; a real value is (q - zero_point) * scale.
    """

    stored: StoredParameter
    dtype: str
    shape: tuple[int, ...]
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]


def _varints(data: mmap.mmap, field: Field) -> list[int]:
    """A repeated integer: one value, or several packed."""
    if field.wire == _VARINT:
        return [field.value]
    values, at = [], field.first
    while at < field.end:
        value, at = _read_varint(data, at, field.end)
        values.append(value)
    return values


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _numbers(data: mmap.mmap, attribute: Field, kind: int) -> list[float]:
    """The doubles or ints of an attribute and of the attributes in its `values`, in order."""
    numbers: list[float] = []
    for part in fields(data, attribute.first, attribute.end):
        if part.number == ATTRIBUTE_VALUES and part.wire == _BYTES:
            numbers += _numbers(data, part, kind)
        elif part.number != kind:
            continue
        elif kind == ATTRIBUTE_INTS:
            numbers += [_signed(v) for v in _varints(data, part)]
        elif part.wire in (_FIXED64, _BYTES):
            payload = data[part.first : part.end]
            if len(payload) % 8:
                raise MindIRError("a list of doubles is cut off")
            numbers += struct.unpack("<%dd" % (len(payload) // 8), payload)
    return numbers


def _name(data: mmap.mmap, attribute: Field) -> str:
    for part in fields(data, attribute.first, attribute.end):
        if part.number == ATTRIBUTE_NAME and part.wire == _BYTES:
            return data[part.first : part.end].decode("utf-8")
    return ""


def _typed(data: mmap.mmap, tensor: Field) -> TypedParameter:
    dtype, shape = "", []  # type: tuple[str, list[int]]
    scales: list[float] = []
    zero_points: list[float] = []
    for field in fields(data, tensor.first, tensor.end):
        if field.number == TENSOR_DIMS:
            shape += _varints(data, field)
        elif field.number == TENSOR_TYPE and field.wire == _VARINT:
            dtype = DATA_TYPES.get(field.value, "")
        elif field.number == TENSOR_QUANT and field.wire == _BYTES:
            for part in fields(data, field.first, field.end):
                if part.number != QUANT_ATTRIBUTE or part.wire != _BYTES:
                    continue
                name = _name(data, part)
                if name == "scale_list":
                    scales = _numbers(data, part, ATTRIBUTE_DOUBLES)
                elif name == "zero_point_list":
                    zero_points = _numbers(data, part, ATTRIBUTE_INTS)
    if len(scales) != len(zero_points):
        raise MindIRError("scales and zero points do not belong together")
    return TypedParameter(
        _parse_parameter(data, tensor),
        dtype,
        tuple(shape),
        tuple(scales),
        tuple(int(z) for z in zero_points),
    )


def list_typed_parameters(path: str) -> list[TypedParameter]:
    """Every parameter of a MindIR with its type, in the file's order.

    Raises:
        MindIRError: this is no MindIR, or damaged.
    """
    with open_file(path) as data:
        graph = graph_of(data)
        return [
            _typed(data, field)
            for field in fields(data, graph.first, graph.end)
            if field.number == GRAPH_PARAMETER and field.wire == _BYTES
        ]
