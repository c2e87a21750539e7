"""Reading and rewriting MindIR files without MindSpore: their version and where weights lie.

A MindIR is one protobuf message. Only four things are needed of it, so a small wire-format walker
serves; it streams, never copies weights, and treats every length as hostile.

    ModelProto:  graph = 7, functions = 8 (repeated GraphProto), mind_ir_version = 13
    GraphProto:  parameter = 3 (repeated TensorProto)
    TensorProto: name = 7, raw_data = 9, external_data = 12
    ExternalDataProto: location = 1, offset = 2, length = 3

Sources: mindspore/core/proto/mind_ir.proto; for the wire format,
protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import dataclasses
import mmap
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    # Location relative to the MindIR's folder, first byte, bytes.
    Place = tuple[str, int, int]

MODEL_GRAPH, MODEL_FUNCTIONS, MODEL_VERSION = 7, 8, 13
GRAPH_PARAMETER = 3
TENSOR_NAME, TENSOR_RAW, TENSOR_EXTERNAL = 7, 9, 12
EXTERNAL_LOCATION, EXTERNAL_OFFSET, EXTERNAL_LENGTH = 1, 2, 3
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class MindIRError(Exception):
    """The file is no MindIR, or damaged."""


class Field(NamedTuple):
    """One field of a message: its bytes are start:end, its payload's are first:end."""

    number: int
    wire: int
    value: int  # of a varint, else 0
    start: int
    first: int
    end: int


def _read_varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if not byte & 0x80:
            return value, at
        shift += 7
    raise MindIRError("a number runs past its message")


def _varint(value: int) -> bytes:
    out = bytearray()
    while True:
        byte = value & 0x7F
        value >>= 7
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)


def fields(data: mmap.mmap, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message that lies at start:end."""
    at = start
    while at < end:
        field = at
        key, at = _read_varint(data, at, end)
        number, wire = key >> 3, key & 7
        value = 0
        first = at
        if wire == _VARINT:
            value, at = _read_varint(data, at, end)
        elif wire == _BYTES:
            size, first = _read_varint(data, at, end)
            at = first + size
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise MindIRError("an unknown wire type %d" % wire)
        if at > end or number == 0:
            raise MindIRError("a field runs past its message")
        yield Field(number, wire, value, field, first, at)


def _bytes_field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(payload)) + payload


def open_file(path: str) -> mmap.mmap:
    """Map a file for reading; an empty one is no MindIR."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise MindIRError("the file is empty")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def read_version(path: str) -> int:
    """`mind_ir_version` of a file (0 where it has none); readers refuse what is above their own.

    Raises:
        MindIRError: this is no MindIR.
    """
    with open_file(path) as data:
        version, has_graph = 0, False
        for field in fields(data, 0, len(data)):
            if field.number == MODEL_VERSION and field.wire == _VARINT:
                version = field.value
            has_graph = has_graph or (field.number == MODEL_GRAPH and field.wire == _BYTES)
        if not has_graph:
            raise MindIRError("it holds no graph")
        return version


@dataclasses.dataclass(frozen=True)
class StoredParameter:
    """Where one parameter's bytes lie: inside the MindIR (`location` None) or in a file beside it.

    Attributes:
        name: Hugging Face name.
        location: path relative to the MindIR's folder, or None.
        offset: first byte.
        length: bytes.
    """

    name: str
    location: str | None
    offset: int
    length: int


def _parse_parameter(data: mmap.mmap, tensor: Field) -> StoredParameter:
    name, offset, length = "", 0, 0
    location: str | None = None
    for field in fields(data, tensor.first, tensor.end):
        if field.number == TENSOR_NAME and field.wire == _BYTES:
            name = data[field.first : field.end].decode("utf-8").split(":", 1)[-1]
        elif field.number == TENSOR_RAW and field.wire == _BYTES:
            offset, length = field.first, field.end - field.first
        elif field.number == TENSOR_EXTERNAL and field.wire == _BYTES:
            location = ""
            for part in fields(data, field.first, field.end):
                if part.number == EXTERNAL_LOCATION and part.wire == _BYTES:
                    location = data[part.first : part.end].decode("utf-8")
                elif part.number == EXTERNAL_OFFSET and part.wire == _VARINT:
                    offset = part.value
                elif part.number == EXTERNAL_LENGTH and part.wire == _VARINT:
                    length = part.value
    return StoredParameter(name, location, offset, length)


def graph_of(data: mmap.mmap) -> Field:
    """The model's graph."""
    for field in fields(data, 0, len(data)):
        if field.number == MODEL_GRAPH and field.wire == _BYTES:
            return field
    raise MindIRError("it holds no graph")


def list_parameters(path: str) -> list[StoredParameter]:
    """Every parameter of a MindIR, in the file's order.

    Raises:
        MindIRError: this is no MindIR.
    """
    with open_file(path) as data:
        graph = graph_of(data)
        return [
            _parse_parameter(data, field)
            for field in fields(data, graph.first, graph.end)
            if field.number == GRAPH_PARAMETER and field.wire == _BYTES
        ]


def list_all_parameters(path: str) -> list[StoredParameter]:
    """Every parameter that a reader may load: those of functions, and of graphs in several pieces.

    A protobuf reader joins repeated pieces of one message; `list_parameters` sees the first only.

    Raises:
        MindIRError: this is no MindIR.
    """
    with open_file(path) as data:
        graph_of(data)
        return [
            _parse_parameter(data, field)
            for graph in fields(data, 0, len(data))
            if graph.number in (MODEL_GRAPH, MODEL_FUNCTIONS) and graph.wire == _BYTES
            for field in fields(data, graph.first, graph.end)
            if field.number == GRAPH_PARAMETER and field.wire == _BYTES
        ]


def _external_parameter(data: mmap.mmap, tensor: Field, place: Place) -> bytes:
    """A TensorProto's bytes with its data said to lie at `place`."""
    location, offset, length = place
    kept = b"".join(
        data[field.start : field.end]
        for field in fields(data, tensor.first, tensor.end)
        if field.number not in (TENSOR_RAW, TENSOR_EXTERNAL)
    )
    external = (
        _bytes_field(EXTERNAL_LOCATION, location.encode("utf-8"))
        + _varint(EXTERNAL_OFFSET << 3 | _VARINT)
        + _varint(offset)
        + _varint(EXTERNAL_LENGTH << 3 | _VARINT)
        + _varint(length)
    )
    return kept + _bytes_field(TENSOR_EXTERNAL, external)


def rewrite_parameters(source: str, target: str, places: Mapping[str, Place]) -> None:
    """Copy a MindIR, saying of every parameter that its data lies in a file beside it.

    Args:
        source: path of the MindIR.
        target: path of the copy, not the same.
        places: name -> (location relative to the target's folder, offset, length).

    Raises:
        KeyError: the file has a parameter that `places` lacks.
        MindIRError: the source is no MindIR.
    """
    with open_file(source) as data:
        graph = graph_of(data)
        parts = []
        for field in fields(data, graph.first, graph.end):
            if field.number == GRAPH_PARAMETER and field.wire == _BYTES:
                name = _parse_parameter(data, field).name
                payload = _external_parameter(data, field, places[name])
                parts.append(_bytes_field(GRAPH_PARAMETER, payload))
            else:
                parts.append(data[field.start : field.end])
        write_graph(data, graph, parts, target)


def write_graph(data: mmap.mmap, graph: Field, parts: Sequence[bytes], target: str) -> None:
    """Write a copy of a MindIR whose graph consists of other fields.

    Args:
        data: the MindIR.
        graph: its graph, from `graph_of`.
        parts: the new graph's fields, whole.
        target: path of the copy.
    """
    with open(target, "wb") as out:
        out.write(data[: graph.start])
        out.write(_varint(MODEL_GRAPH << 3 | _BYTES) + _varint(sum(len(part) for part in parts)))
        for part in parts:
            out.write(part)
        out.write(data[graph.end :])
