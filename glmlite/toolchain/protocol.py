"""Frames between the parent and its worker: a length, a JSON header, raw array bytes.

    uint32 little-endian: bytes of the header
    header: UTF-8 JSON object; its "arrays" lists the dtype and shape of what follows
    the arrays' bytes, C order, one after the other

No pickle, no code, and nothing is allocated that a header claims beyond `MAX_ARRAY_BYTES`.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from io import BufferedIOBase

    from numpy.typing import NDArray

MAX_HEADER_BYTES = 16 << 20
MAX_ARRAY_BYTES = 1 << 31
DTYPES = ("int32", "float32", "float16")
_LENGTH = struct.Struct("<I")


class ConnectionClosedError(Exception):
    """The other side ended between or within frames."""


def send(
    stream: BufferedIOBase, header: Mapping[str, Any], arrays: Sequence[NDArray[Any]] = ()
) -> None:
    """Write one frame and flush it.

    Args:
        stream: a binary file.
        header: JSON data; its "arrays" is set here.
        arrays: int32, float32 or float16 arrays of any shape.
    """
    arrays = [np.ascontiguousarray(a) for a in arrays]
    described = [{"dtype": a.dtype.name, "shape": a.shape} for a in arrays]
    data = json.dumps(dict(header, arrays=described)).encode("utf-8")
    stream.write(_LENGTH.pack(len(data)) + data)
    for array in arrays:
        stream.write(array.data.cast("B") if array.size else b"")
    stream.flush()


def _read_exactly(stream: BufferedIOBase, size: int) -> bytearray:
    buffer = bytearray(size)
    view, filled = memoryview(buffer), 0
    while filled < size:
        count = stream.readinto(view[filled:])
        if not count:
            raise ConnectionClosedError()
        filled += count
    return buffer


def receive(stream: BufferedIOBase) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """Read one frame.

    Args:
        stream: a binary file.

    Returns:
        (header, arrays): the JSON object and a list of writable arrays.

    Raises:
        ConnectionClosedError: the stream ended.
        ValueError: the frame is malformed or too large.
    """
    (size,) = _LENGTH.unpack(_read_exactly(stream, _LENGTH.size))
    if size > MAX_HEADER_BYTES:
        raise ValueError("a frame's header of %d bytes is too large" % size)
    header = json.loads(_read_exactly(stream, size).decode("utf-8"))
    if not isinstance(header, dict) or not isinstance(header.get("arrays"), list):
        raise ValueError("a frame's header must be an object with a list of arrays")
    arrays = []
    for entry in header["arrays"]:
        if entry["dtype"] not in DTYPES:
            raise ValueError("arrays of dtype %r are not sent" % (entry["dtype"],))
        dtype, shape = np.dtype(entry["dtype"]), tuple(int(n) for n in entry["shape"])
        count = 1
        for n in shape:
            if n < 0:
                raise ValueError("a negative dimension")
            count *= n
        if count * dtype.itemsize > MAX_ARRAY_BYTES:
            raise ValueError("an array of %d bytes is too large" % (count * dtype.itemsize))
        data = _read_exactly(stream, count * dtype.itemsize)
        arrays.append(np.frombuffer(data, dtype=dtype).reshape(shape))
    return header, arrays
