"""Tensors that lie in one file at known places, whatever the file's format.

Every format that glmlite reads stores plain little-endian bytes: safetensors in one run, torch's
zip files in uncompressed records, MindSpore in the fields of protobuf messages. A subclass finds
out where; reading is the same for all. Data is read with plain reads: a mapped file that shrinks
kills the process.
"""

from __future__ import annotations

import abc
import dataclasses
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from glmlite.errors import CheckpointError

MAX_NAME_LENGTH = 512
MAX_DIMENSIONS = 16
MAX_SIZE = 1 << 48  # of a dimension, of bytes: no number in a file means more
_CHUNK_ELEMENTS = 1 << 22
_FLOAT16_INFINITY = 0x7C00  # and above it, NaN

# Element types are called as in safetensors.
ITEM_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2,
    "BF16": 2, "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
FLOAT_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_STORED = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I8": "i1"}


@dataclasses.dataclass(frozen=True)
class TensorEntry:
    """Where a tensor lies.

    Attributes:
        spans: (first byte in the file, bytes) of its pieces, in order.
        order: axes from the slowest to the fastest as stored; None where that is their own order.
    """

    dtype: str
    shape: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    order: tuple[int, ...] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape) * ITEM_SIZES[self.dtype]


class TensorFile(abc.ABC):
    """The tensors of one file; opening reads what describes them, and no tensor.

    Args:
        path: the file.
        label: how messages call it; by default the file's name.

    Attributes:
        entries: name to `TensorEntry`, in file order.
        left_out: names of what the file holds besides tensors.

    Raises:
        CheckpointError: the file cannot be read, is truncated, or contradicts itself.
    """

    format: ClassVar[str]

    def __init__(self, path: Path, label: str | None = None) -> None:
        self.path = path
        self.label = label or path.name
        self.left_out: tuple[str, ...] = ()
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                self._identity = _identity(status)
                self.entries = self._index(file, status.st_size)
        except OSError as error:
            raise self._unreadable(error) from error

    @abc.abstractmethod
    def _index(self, file: BinaryIO, size: int) -> dict[str, TensorEntry]:
        """Find every tensor of a file of `size` bytes; all spans must lie inside it."""

    @abc.abstractmethod
    def _invalid(self, reason: str) -> CheckpointError:
        """The error that says why this is no file of its format."""

    def read(self, name: str) -> NDArray[Any]:
        """One tensor of real numbers; see `WeightSource.read`."""
        entry = self.entries[name]
        if entry.dtype not in FLOAT_NAMES:
            raise unreadable_dtype(self.label, name, entry.dtype)
        result = np.empty(
            math.prod(entry.shape), np.float16 if entry.dtype == "F16" else np.float32
        )
        done = 0
        for raw in self._chunks(entry):
            chunk = result[done : done + raw.size]
            done += raw.size
            if entry.dtype == "BF16":
                # A bfloat16 is the upper half of the float32 of the same value.
                np.left_shift(raw, 16, out=chunk.view(np.uint32), dtype=np.uint32)
            else:
                chunk[:] = raw
            if not _is_finite(chunk):
                raise CheckpointError(
                    "{file}: tensor {name} holds NaN or infinite values.",
                    hint="The checkpoint is damaged, or its training diverged; fetch it "
                    "again or use an earlier one.",
                    file=self.label,
                    name=name,
                )
        return _arrange(result, entry)

    def read_int8(self, name: str) -> NDArray[np.int8]:
        """One tensor of dtype I8."""
        entry = self.entries[name]
        result = np.empty(math.prod(entry.shape), np.int8)
        done = 0
        for raw in self._chunks(entry):
            result[done : done + raw.size] = raw
            done += raw.size
        return _arrange(result, entry)

    def samples(self, name: str, window: int, count: int) -> Iterator[bytes]:
        """Raw bytes of a tensor: all of it where it is small, else `count` even `window`s."""
        entry = self.entries[name]
        if entry.nbytes <= window * count:
            windows = [(0, entry.nbytes)]
        else:
            step = (entry.nbytes - window) / (count - 1)
            windows = [(round(i * step), window) for i in range(count)]
        try:
            with self._open() as file:
                for start, length in windows:
                    yield self._bytes(file, entry, start, length)
        except OSError as error:
            raise self._unreadable(error) from error

    def _open(self) -> BinaryIO:
        """The file, if it is still the one whose tensors were found."""
        file = self.path.open("rb")
        if _identity(os.fstat(file.fileno())) != self._identity:
            file.close()
            raise CheckpointError(
                "{file} was changed while it was being read.",
                hint="Start again when whatever writes it is done.",
                file=self.label,
            )
        return file

    def _chunks(self, entry: TensorEntry) -> Iterator[NDArray[Any]]:
        """The elements as stored, flat, a few million at a time."""
        stored = np.dtype(_STORED[entry.dtype])
        size = math.prod(entry.shape)
        try:
            with self._open() as file:
                for start in range(0, size, _CHUNK_ELEMENTS):
                    length = min(_CHUNK_ELEMENTS, size - start) * stored.itemsize
                    data = self._bytes(file, entry, start * stored.itemsize, length)
                    yield np.frombuffer(data, stored)
        except OSError as error:
            raise self._unreadable(error) from error

    def _bytes(self, file: BinaryIO, entry: TensorEntry, start: int, length: int) -> bytes:
        """`length` bytes of a tensor from its byte `start` on, over all its pieces."""
        parts = []
        for begin, size in entry.spans:
            if length and start < size:
                taken = min(length, size - start)
                file.seek(begin + start)
                parts.append(self._take(file, taken))
                length -= taken
                start = size
            start -= size
        return b"".join(parts) if len(parts) != 1 else parts[0]

    def _take(self, file: BinaryIO, length: int) -> bytes:
        data = file.read(length)
        if len(data) != length:
            raise self._truncated(length, len(data))
        return data

    def _truncated(self, needed: int, found: int) -> CheckpointError:
        return CheckpointError(
            "{file} is truncated: its tensors need {needed} bytes, {found} are there.",
            hint="Fetch the file again; the download or the copy did not finish.",
            file=self.label,
            needed=needed,
            found=found,
        )

    def _unreadable(self, error: OSError) -> CheckpointError:
        return CheckpointError(
            "{file} cannot be read: {reason}.",
            file=self.label,
            reason=error.strerror or type(error).__name__,
        )


def _is_finite(chunk: NDArray[Any]) -> bool:
    if chunk.dtype == np.float16:  # NumPy takes ten times as long over these
        return int((chunk.view(np.uint16) & 0x7FFF).max(initial=0)) < _FLOAT16_INFINITY
    return bool(np.isfinite(chunk).all())


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def unreadable_dtype(file: str, name: str, dtype: str) -> CheckpointError:
    """The error for tensors that are no real numbers."""
    return CheckpointError(
        "{file}: tensor {name} has dtype {dtype}; glmlite reads F32, F16 and BF16.",
        hint="Of quantized checkpoints glmlite reads the official int4 and int8 ones, which have a "
        "weight_scale beside each weight; otherwise use the original checkpoint.",
        file=file,
        name=name,
        dtype=dtype,
    )


def is_name(name: str) -> bool:
    """Whether a tensor may be called so; names are shown on terminals."""
    return 0 < len(name) <= MAX_NAME_LENGTH and name.isprintable()


def _arrange(flat: NDArray[Any], entry: TensorEntry) -> NDArray[Any]:
    if entry.order is None:
        return flat.reshape(entry.shape)
    stored = flat.reshape([entry.shape[axis] for axis in entry.order])
    return np.ascontiguousarray(stored.transpose(np.argsort(entry.order)))
