"""Reading and rewriting MindIR files without MindSpore: their version and where weights lie.

A MindIR is one protobuf message. Only four things are needed of it, so a small wire-format walker
serves; it streams, never copies weights, and treats every length as hostile.

    ModelProto:  graph = 7, mind_ir_version = 13
    GraphProto:  parameter = 3 (repeated TensorProto)
    TensorProto: name = 7, raw_data = 9, external_data = 12
    ExternalDataProto: location = 1, offset = 2, length = 3

Source: mindspore/core/proto/mind_ir.proto; the wire format: protobuf.dev/programming-guides/encoding.
"""

import mmap
import os

MODEL_GRAPH, MODEL_VERSION = 7, 13
GRAPH_PARAMETER = 3
TENSOR_NAME, TENSOR_RAW, TENSOR_EXTERNAL = 7, 9, 12
EXTERNAL_LOCATION, EXTERNAL_OFFSET, EXTERNAL_LENGTH = 1, 2, 3
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class MindIRError(Exception):
    """The file is no MindIR, or damaged."""


def _read_varint(data, at, end):
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if not byte & 0x80:
            return value, at
        shift += 7
    raise MindIRError("a number runs past its message")


def _varint(value):
    out = bytearray()
    while True:
        byte = value & 0x7F
        value >>= 7
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)


def _fields(data, start, end):
    """Yield (number, wire type, value or None, field start, payload start, payload end)."""
    at = start
    while at < end:
        field = at
        key, at = _read_varint(data, at, end)
        number, wire = key >> 3, key & 7
        value = None
        if wire == _VARINT:
            payload = at
            value, at = _read_varint(data, at, end)
        elif wire == _BYTES:
            size, payload = _read_varint(data, at, end)
            at = payload + size
        elif wire in (_FIXED64, _FIXED32):
            payload = at
            at += 8 if wire == _FIXED64 else 4
        else:
            raise MindIRError("an unknown wire type %d" % wire)
        if at > end or number == 0:
            raise MindIRError("a field runs past its message")
        yield number, wire, value, field, payload, at


def _bytes_field(number, payload):
    return _varint(number << 3 | _BYTES) + _varint(len(payload)) + payload


def _open(path):
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise MindIRError("the file is empty")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def read_version(path):
    """`mind_ir_version` of a file (0 where it has none); readers refuse what is above their own.

    Raises:
        MindIRError: this is no MindIR.
    """
    with _open(path) as data:
        version, has_graph = 0, False
        for number, wire, value, _, _, _ in _fields(data, 0, len(data)):
            if number == MODEL_VERSION and wire == _VARINT:
                version = value
            has_graph = has_graph or (number == MODEL_GRAPH and wire == _BYTES)
        if not has_graph:
            raise MindIRError("it holds no graph")
        return version


class StoredParameter:
    """Where one parameter's bytes lie: inside the MindIR (`location` None) or in a file beside it.

    Attributes:
        name: Hugging Face name. location: path relative to the MindIR's folder, or None.
        offset: first byte. length: bytes.
    """

    def __init__(self, name, location, offset, length):
        self.name, self.location, self.offset, self.length = name, location, offset, length


def _parse_parameter(data, start, end):
    name, location, offset, length = "", None, 0, 0
    for number, wire, _, _, first, last in _fields(data, start, end):
        if number == TENSOR_NAME and wire == _BYTES:
            name = data[first:last].decode("utf-8").split(":", 1)[-1]
        elif number == TENSOR_RAW and wire == _BYTES:
            offset, length = first, last - first
        elif number == TENSOR_EXTERNAL and wire == _BYTES:
            location = ""
            for inner, _, number_value, _, inner_first, inner_last in _fields(data, first, last):
                if inner == EXTERNAL_LOCATION:
                    location = data[inner_first:inner_last].decode("utf-8")
                elif inner == EXTERNAL_OFFSET:
                    offset = number_value
                elif inner == EXTERNAL_LENGTH:
                    length = number_value
    return StoredParameter(name, location, offset, length)


def _graph(data):
    for number, wire, _, field, first, last in _fields(data, 0, len(data)):
        if number == MODEL_GRAPH and wire == _BYTES:
            return field, first, last
    raise MindIRError("it holds no graph")


def list_parameters(path):
    """Every parameter of a MindIR, as `StoredParameter`, in the file's order."""
    with _open(path) as data:
        _, first, last = _graph(data)
        return [
            _parse_parameter(data, start, end)
            for number, wire, _, _, start, end in _fields(data, first, last)
            if number == GRAPH_PARAMETER and wire == _BYTES
        ]


def _external_parameter(data, start, end, where):
    """A TensorProto's bytes with its data said to lie at `where` = (location, offset, length)."""
    location, offset, length = where
    kept = b"".join(
        data[field:last]
        for number, _, _, field, _, last in _fields(data, start, end)
        if number not in (TENSOR_RAW, TENSOR_EXTERNAL)
    )
    external = (
        _bytes_field(EXTERNAL_LOCATION, location.encode("utf-8"))
        + _varint(EXTERNAL_OFFSET << 3 | _VARINT)
        + _varint(offset)
        + _varint(EXTERNAL_LENGTH << 3 | _VARINT)
        + _varint(length)
    )
    return kept + _bytes_field(TENSOR_EXTERNAL, external)


def rewrite_parameters(source, target, places):
    """Copy a MindIR, saying of every parameter that its data lies in a file beside it.

    Args:
        source, target: paths, not the same.
        places: name -> (location relative to the target's folder, offset, length).

    Raises:
        KeyError: the file has a parameter that `places` lacks.
    """
    with _open(source) as data:
        graph_field, graph_first, graph_last = _graph(data)
        parts = []
        for number, wire, _, field, first, last in _fields(data, graph_first, graph_last):
            if number == GRAPH_PARAMETER and wire == _BYTES:
                name = _parse_parameter(data, first, last).name
                payload = _external_parameter(data, first, last, places[name])
                parts.append(_bytes_field(GRAPH_PARAMETER, payload))
            else:
                parts.append(data[field:last])
        size = sum(len(part) for part in parts)
        with open(target, "wb") as out:
            out.write(data[:graph_field])
            out.write(_varint(MODEL_GRAPH << 3 | _BYTES) + _varint(size))
            for part in parts:
                out.write(part)
            out.write(data[graph_last:])
