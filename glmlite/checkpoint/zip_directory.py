"""Where the records of a zip file lie, for files that store them uncompressed.

torch writes its checkpoints so. Nothing is unpacked, so there is no zip bomb: a record is a range
of the file's own bytes, checked against the file's size. The directory itself is bounded before it
is read (Python's zipfile module reads whatever the file claims).

Source: PKWARE APPNOTE.TXT, sections 4.3.7, 4.3.12, 4.3.14-16 and 4.5.3.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

from glmlite.i18n import _

MAX_DIRECTORY_BYTES = 8 << 20
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MAX_COMMENT = 0xFFFF
_IN_EXTRA = 0xFFFFFFFF  # the number is in the zip64 extra field
_ENCRYPTED = 1

Fail = Callable[[str], Exception]


@dataclasses.dataclass(frozen=True)
class Record:
    """An uncompressed record: its first byte in the file and its bytes."""

    begin: int
    size: int


@dataclasses.dataclass(frozen=True)
class _Entry:
    """What the central directory says of a record; `offset` is that of its local header."""

    name: bytes
    flags: int
    method: int
    packed: int
    size: int
    offset: int


def read_directory(file: BinaryIO, size: int, fail: Fail) -> dict[str, Record]:
    """The records of a zip file, in the directory's order.

    Args:
        file: the open file.
        size: its bytes.
        fail: makes the error out of a reason.

    Raises:
        Exception: what `fail` made: no zip file, damaged, encrypted, compressed, or a record that
            is not inside the file.
    """
    begin, length = _find_directory(file, size, fail)
    file.seek(begin)
    records: dict[str, Record] = {}
    for entry in _entries(file.read(length), fail):
        name = entry.name.decode("utf-8", "backslashreplace")
        shown = ascii(name[:80])
        if entry.flags & _ENCRYPTED:
            raise fail(_("its record {name} is encrypted", name=shown))
        if entry.method != 0 or entry.packed != entry.size:
            raise fail(_("its record {name} is compressed; torch compresses nothing", name=shown))
        if name in records:
            raise fail(_("it has two records {name}", name=shown))
        if entry.offset + _LOCAL.size > begin:
            raise fail(_("its record {name} lies outside the file", name=shown))
        file.seek(entry.offset)
        local = _LOCAL.unpack(file.read(_LOCAL.size))
        first = entry.offset + _LOCAL.size + local[9] + local[10]
        if local[0] != b"PK\3\4" or file.read(local[9]) != entry.name:
            raise fail(_("its directory and its record {name} contradict each other", name=shown))
        if first + entry.size > begin:
            raise fail(_("its record {name} lies outside the file", name=shown))
        records[name] = Record(first, entry.size)
    return records


def _find_directory(file: BinaryIO, size: int, fail: Fail) -> tuple[int, int]:
    """First byte and bytes of the central directory."""
    tail_begin = max(0, size - _END.size - _MAX_COMMENT)
    file.seek(tail_begin)
    tail = file.read(size - tail_begin)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + _END.size > len(tail):
        raise fail(_("it has no zip directory; the download or the copy did not finish"))
    length, begin = _END.unpack_from(tail, at)[5:7]
    end = tail_begin + at
    if end >= _LOCATOR.size:
        file.seek(end - _LOCATOR.size)
        signature, _disk, offset, _disks = _LOCATOR.unpack(file.read(_LOCATOR.size))
        if signature == b"PK\6\7" and offset + _END64.size <= end:
            file.seek(offset)
            end64 = _END64.unpack(file.read(_END64.size))
            if end64[0] == b"PK\6\6":
                length, begin, end = *end64[8:10], offset
    if length > MAX_DIRECTORY_BYTES:
        raise fail(_("its zip directory claims {length} bytes", length=length))
    if begin + length > end:
        raise fail(_("its zip directory lies outside the file"))
    return begin, length


def _entries(directory: bytes, fail: Fail) -> Iterator[_Entry]:
    at = 0
    while at < len(directory):
        if at + _ENTRY.size > len(directory):
            raise fail(_("its zip directory is damaged"))
        fields = _ENTRY.unpack_from(directory, at)
        lengths = fields[10:13]
        name_at = at + _ENTRY.size
        extra_at = name_at + lengths[0]
        at = name_at + sum(lengths)
        if fields[0] != b"PK\1\2" or at > len(directory):
            raise fail(_("its zip directory is damaged"))
        extra = directory[extra_at : extra_at + lengths[1]]
        packed, size, offset = _wide(fields[8], fields[9], fields[16], extra, fail)
        yield _Entry(directory[name_at:extra_at], fields[3], fields[4], packed, size, offset)


def _wide(packed: int, size: int, offset: int, extra: bytes, fail: Fail) -> tuple[int, int, int]:
    """The three numbers of an entry, those of more than 32 bits out of the zip64 extra field."""
    wide = b""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1:
            wide = extra[4 : 4 + length]
        extra = extra[4 + length :]
    numbers = [size, packed, offset]  # the order of the extra field
    for i, number in enumerate(numbers):
        if number == _IN_EXTRA:
            if len(wide) < 8:
                raise fail(_("its zip directory is damaged"))
            numbers[i] = int.from_bytes(wide[:8], "little")
            wide = wide[8:]
    return numbers[1], numbers[0], numbers[2]
