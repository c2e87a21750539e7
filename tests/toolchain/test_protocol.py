"""Frames survive the way there and back; damaged ones are refused before anything is allocated."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import pytest

from glmlite.toolchain import protocol


def _frame(header: object, payload: bytes = b"") -> io.BytesIO:
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    return io.BytesIO(struct.pack("<I", len(data)) + data + payload)


def test_round_trip() -> None:
    stream = io.BytesIO()
    arrays = [
        np.arange(6, dtype=np.int32).reshape(2, 3)[:, ::-1],
        np.zeros((0, 4), np.float32),
        np.float16([[1.5, -2.0]]),
    ]
    protocol.send(stream, {"request": "step", "text": "你好"}, arrays)
    protocol.send(stream, {"done": True})
    stream.seek(0)
    header, found = protocol.receive(stream)
    assert header["text"] == "你好"
    for one, other in zip(arrays, found, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
        assert other.flags.writeable
    assert protocol.receive(stream) == ({"done": True, "arrays": []}, [])
    with pytest.raises(protocol.ConnectionClosedError):
        protocol.receive(stream)


@pytest.mark.parametrize(
    "stream",
    [
        io.BytesIO(struct.pack("<I", protocol.MAX_HEADER_BYTES + 1)),
        _frame(b"no json"),
        _frame([]),
        _frame({"arrays": 3}),
        _frame({"arrays": [{"dtype": "object", "shape": [1]}]}),
        _frame({"arrays": [{"dtype": "float32", "shape": [-1, 4]}]}),
        _frame({"arrays": [{"dtype": "float32", "shape": [1 << 40]}]}),
        _frame({"arrays": [{"shape": [1]}]}),
        _frame({"arrays": [{"dtype": "int32", "shape": "ab"}]}),
    ],
)
def test_malformed_frames_are_refused(stream: io.BytesIO) -> None:
    stream.seek(0)
    with pytest.raises((ValueError, KeyError)):
        protocol.receive(stream)


def test_a_frame_cut_short_is_a_closed_connection() -> None:
    stream = io.BytesIO()
    protocol.send(stream, {"a": 1}, [np.ones(100, np.float32)])
    data = stream.getvalue()
    for cut in (1, 3, 10, len(data) - 1):
        with pytest.raises(protocol.ConnectionClosedError):
            protocol.receive(io.BytesIO(data[:cut]))
