"""One MindSpore `.ckpt` file, walked without reading any tensor.

The file is one protobuf message, written in parts one after the other:

    Checkpoint:  value = 1 (repeated Value)
    Value:       tag = 1 (the name), tensor = 2, maptensor = 3
    TensorProto: dims = 1 (repeated int64), tensor_type = 2 (a name), tensor_content = 3

A large tensor comes as several Values of the same tag, one after the other, each with the dims of
the whole. A file saved with `crc_check=True` ends with "crc_num" and ten bytes more.

Sources: checkpoint.proto and train/serialization.py of MindSpore 2.0.0 and 2.10; for the wire
format, protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from glmlite.checkpoint.tensor_file import (
    ITEM_SIZES,
    MAX_DIMENSIONS,
    MAX_NAME_LENGTH,
    MAX_SIZE,
    TensorEntry,
    TensorFile,
    is_name,
)
from glmlite.errors import CheckpointError
from glmlite.i18n import _

TYPES = {
    "Bool": "BOOL", "UInt8": "U8", "Int8": "I8", "UInt16": "U16", "Int16": "I16", "Float16": "F16",
    "BFloat16": "BF16", "UInt32": "U32", "Int32": "I32", "Float32": "F32", "UInt64": "U64",
    "Int64": "I64", "Float64": "F64",
}  # fmt: skip
VALUE = 1
TAG, TENSOR, MAP_TENSOR = 1, 2, 3
DIMS, TYPE, CONTENT = 1, 2, 3
VARINT, BYTES = 0, 2
CRC_MARK, CRC_BYTES = b"crc_num", 10
# What MindSpore saves besides tensors: texts of append_dict, and the state of random generators.
_NO_TENSORS = ("str", "random_op")
_MAX_VALUES = 1 << 16


class _Field(NamedTuple):
    """One field of a message: a number, or bytes that lie at begin:end of the file."""

    number: int
    wire: int
    value: int
    begin: int
    end: int


@dataclasses.dataclass(frozen=True)
class _Value:
    """One Value: a tensor, or a piece of one."""

    name: str
    type: str
    dims: tuple[int, ...]
    span: tuple[int, int]


class MindSporeFile(TensorFile):
    """The tensors of one `.ckpt` file; see `TensorFile`. Names are MindSpore's own."""

    format = "mindspore"

    def _index(self, file: BinaryIO, size: int) -> dict[str, TensorEntry]:
        entries: dict[str, TensorEntry] = {}
        left_out: dict[str, None] = {}
        pieces: list[_Value] = []
        for count, value in enumerate(self._values(file, self._end(file, size))):
            if count >= _MAX_VALUES:
                raise self._invalid(_("it has more than {count} entries", count=_MAX_VALUES))
            if value.name in entries or value.name in left_out:
                raise self._invalid(_("{name} occurs twice", name=value.name))
            if pieces and value.name != pieces[0].name:
                entries[pieces[0].name] = self._join(pieces)
                pieces = []
            if value.type in _NO_TENSORS:
                left_out[value.name] = None
            else:
                pieces.append(value)
        if pieces:
            entries[pieces[0].name] = self._join(pieces)
        self.left_out = tuple(left_out)
        return entries

    def _end(self, file: BinaryIO, size: int) -> int:
        """Where the message ends: before the checksum, if there is one."""
        tail = len(CRC_MARK) + CRC_BYTES
        if size <= tail:
            return size
        file.seek(size - tail)
        return size - tail if file.read(len(CRC_MARK)) == CRC_MARK else size

    def _values(self, file: BinaryIO, end: int) -> Iterator[_Value]:
        for field in self._fields(file, 0, end):
            if (field.number, field.wire) != (VALUE, BYTES):
                raise self._invalid(_("it is no message of checkpoint values"))
            yield self._parse_value(file, field)

    def _parse_value(self, file: BinaryIO, value: _Field) -> _Value:
        name, tensor = "", None
        for field in self._fields(file, value.begin, value.end):
            if (field.number, field.wire) == (TAG, BYTES):
                name = self._text(file, field)
            elif (field.number, field.wire) == (TENSOR, BYTES):
                tensor = field
            else:
                raise self._invalid(
                    _("entry {name} is no tensor", name=ascii(name[:MAX_NAME_LENGTH]))
                )
        if not is_name(name) or tensor is None:
            raise self._invalid(_("it names a tensor {name}", name=ascii(name[:80])))
        kind, span = "", (tensor.end, 0)
        dims: list[int] = []
        for field in self._fields(file, tensor.begin, tensor.end):
            if field.number == DIMS:
                dims += self._dims(file, field)
            elif (field.number, field.wire) == (TYPE, BYTES):
                kind = self._text(file, field)
            elif (field.number, field.wire) == (CONTENT, BYTES):
                span = (field.begin, field.end - field.begin)
            else:
                raise self._invalid(_("entry {name} is no tensor", name=name))
        if len(dims) > MAX_DIMENSIONS or not all(0 <= dim < MAX_SIZE for dim in dims):
            raise self._invalid(_("the shape of tensor {name} is no list of sizes", name=name))
        return _Value(name, kind, tuple(dims), span)

    def _dims(self, file: BinaryIO, field: _Field) -> list[int]:
        """One dimension, or all of them packed into one field."""
        if field.wire == VARINT:
            return [field.value]
        dims: list[int] = []
        at = field.begin
        while at < field.end and len(dims) <= MAX_DIMENSIONS:
            value, at = self._varint(file, at, field.end)
            dims.append(value)
        return dims

    def _join(self, pieces: list[_Value]) -> TensorEntry:
        """The tensor out of its pieces; its bytes must be exactly what its shape needs."""
        first = pieces[0]
        if any((piece.type, piece.dims) != (first.type, first.dims) for piece in pieces):
            raise self._invalid(_("the pieces of tensor {name} differ", name=first.name))
        if first.type not in TYPES:
            kind = ascii(first.type)[:80]
            raise self._invalid(
                _("tensor {name} has the unknown dtype {found}", name=first.name, found=kind)
            )
        dtype = TYPES[first.type]
        found = sum(piece.span[1] for piece in pieces)
        # MindSpore writes a single number with dims [0].
        shape = () if first.dims == (0,) and found == ITEM_SIZES[dtype] else first.dims
        needed = math.prod(shape) * ITEM_SIZES[dtype]
        if found != needed or not found:
            raise self._invalid(
                _(
                    "tensor {name} needs {needed} bytes for {dtype} {shape}, it has {found}",
                    name=first.name,
                    needed=needed,
                    dtype=first.type,
                    shape=list(shape),
                    found=found,
                )
            )
        return TensorEntry(dtype, shape, tuple(piece.span for piece in pieces))

    def _text(self, file: BinaryIO, field: _Field) -> str:
        length = field.end - field.begin
        if length > 4 * MAX_NAME_LENGTH:
            raise self._invalid(_("it has a name of {length} bytes", length=length))
        file.seek(field.begin)
        return self._take(file, length).decode("utf-8", "backslashreplace")

    def _fields(self, file: BinaryIO, begin: int, end: int) -> Iterator[_Field]:
        """The fields of the message that lies at begin:end; no payload is read."""
        at = begin
        while at < end:
            key, at = self._varint(file, at, end)
            number, wire = key >> 3, key & 7
            if wire not in (VARINT, BYTES) or number == 0:
                raise self._invalid(_("it is no message of checkpoint values"))
            value, at = self._varint(file, at, end)
            first = at
            if wire == BYTES:
                at += value
                if at > end:
                    raise self._invalid(
                        _(
                            "byte {at} begins {length} bytes, but only {left} are left there",
                            at=first,
                            length=value,
                            left=end - first,
                        )
                    )
            yield _Field(number, wire, value, first, at)

    def _varint(self, file: BinaryIO, at: int, end: int) -> tuple[int, int]:
        """The number at `at`, and where it ends."""
        file.seek(at)
        value = 0
        for i, byte in enumerate(file.read(min(10, end - at))):
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                return value, at + i + 1
        raise self._invalid(_("a number runs past its message"))

    def _invalid(self, reason: str) -> CheckpointError:
        return CheckpointError(
            "{file} is not a valid MindSpore checkpoint: {reason}.",
            hint="Fetch the file again. An encrypted one (enc_key) must first be loaded in "
            "MindSpore and saved without a key.",
            file=self.label,
            reason=reason,
        )
