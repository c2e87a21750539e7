"""Writes a MindSpore `.ckpt`; the format is described in `mindspore_file`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from glmlite.checkpoint.mindspore_file import (
    BYTES,
    CONTENT,
    DIMS,
    TAG,
    TENSOR,
    TYPE,
    VALUE,
    VARINT,
)
from glmlite.checkpoint.tensors_out import OutputTensor
from glmlite.progress import Progress

PIECE_BYTES = 512 << 20  # as MindSpore's SLICE_SIZE; a protobuf message ends at 2 GiB
TYPES = {"float32": "Float32", "float16": "Float16", "bfloat16": "BFloat16"}


def write_ckpt(
    tensors: Mapping[str, OutputTensor],
    path: Path,
    progress: Progress,
    piece_bytes: int = PIECE_BYTES,
) -> None:
    """Write tensors in their order; one is in memory at a time.

    Args:
        tensors: MindSpore name to what to write.
        path: the file.
        progress: advances by bytes written.
        piece_bytes: larger tensors are cut into pieces, at whole elements.
    """
    with path.open("wb") as file:
        for name, tensor in tensors.items():
            data = tensor.read()
            for start in range(0, len(data), piece_bytes):
                piece = data[start : start + piece_bytes]
                file.write(_value_head(name, tensor, len(piece)))
                file.write(piece)
            progress.advance(tensor.nbytes)


def _value_head(name: str, tensor: OutputTensor, length: int) -> bytes:
    """Everything of a Value before the `length` bytes of its tensor_content, which come last."""
    body = b"".join(_varint(DIMS << 3 | VARINT) + _varint(dim) for dim in tensor.shape)
    body += _bytes(TYPE, TYPES[tensor.dtype].encode())
    body += _varint(CONTENT << 3 | BYTES) + _varint(length)
    value = _bytes(TAG, name.encode())
    value += _varint(TENSOR << 3 | BYTES) + _varint(len(body) + length) + body
    return _varint(VALUE << 3 | BYTES) + _varint(len(value) + length) + value


def _bytes(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | BYTES) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
