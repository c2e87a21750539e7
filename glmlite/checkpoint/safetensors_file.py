"""One safetensors file, read as hostile input.

The safetensors library has no NumPy view of bfloat16 and its errors do not name tensors, so the
header is parsed here (format: https://github.com/huggingface/safetensors#format): eight bytes of
header length, little endian; a JSON object `name: {dtype, shape, data_offsets}`; then the data,
without holes. Data is read with plain reads: a mapped file that shrinks kills the process.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from glmlite.errors import CheckpointError
from glmlite.i18n import _

MAX_HEADER_BYTES = 100_000_000  # the library's own limit
MAX_NAME_LENGTH = 512
MAX_DIMENSIONS = 16
_CHUNK_ELEMENTS = 1 << 22

ITEM_SIZES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2,
    "BF16": 2, "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
FLOAT_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_ENTRY_KEYS = {"dtype", "shape", "data_offsets"}


@dataclasses.dataclass(frozen=True)
class TensorEntry:
    """Where a tensor lies: `begin` counts from the start of the file, in bytes."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    nbytes: int


class SafetensorsFile:
    """The tensors of one file; opening reads and checks the header only.

    Args:
        path: the file.
        label: how messages call it; by default the file's name.

    Attributes:
        entries: name to `TensorEntry`, in file order.

    Raises:
        CheckpointError: the file cannot be read, is truncated, or its header is inconsistent.
    """

    def __init__(self, path: Path, label: str | None = None) -> None:
        self.path = path
        self.label = label or path.name
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                header, data_begin = self._read_header(file, size)
        except OSError as error:
            raise self._unreadable(error) from error
        self.entries = self._check_entries(header, data_begin, size - data_begin)

    def read(self, name: str) -> NDArray[Any]:
        """One tensor; see `WeightSource.read`."""
        entry = self.entries[name]
        if entry.dtype not in FLOAT_NAMES:
            raise CheckpointError(
                "{file}: tensor {name} has dtype {dtype}; glmlite reads F32, F16 and BF16.",
                hint="A quantized checkpoint cannot be exported; use the original one.",
                file=self.label,
                name=name,
                dtype=entry.dtype,
            )
        stored = np.dtype({"F32": "<f4", "F16": "<f2", "BF16": "<u2"}[entry.dtype])
        result = np.empty(
            math.prod(entry.shape), np.float16 if entry.dtype == "F16" else np.float32
        )
        try:
            with self.path.open("rb") as file:
                file.seek(entry.begin)
                for start in range(0, result.size, _CHUNK_ELEMENTS):
                    chunk = result[start : start + _CHUNK_ELEMENTS]
                    raw = np.frombuffer(self._take(file, chunk.size * stored.itemsize), stored)
                    if entry.dtype == "BF16":
                        # A bfloat16 is the upper half of the float32 of the same value.
                        np.left_shift(raw, 16, out=chunk.view(np.uint32), dtype=np.uint32)
                    else:
                        chunk[:] = raw
                    if not np.isfinite(chunk).all():
                        raise CheckpointError(
                            "{file}: tensor {name} holds NaN or infinite values.",
                            hint="The checkpoint is damaged, or its training diverged; fetch it "
                            "again or use an earlier one.",
                            file=self.label,
                            name=name,
                        )
        except OSError as error:
            raise self._unreadable(error) from error
        return result.reshape(entry.shape)

    def samples(self, name: str, window: int, count: int) -> Iterator[bytes]:
        """Raw bytes of a tensor: all of it where it is small, else `count` even `window`s."""
        entry = self.entries[name]
        if entry.nbytes <= window * count:
            spans = [(entry.begin, entry.nbytes)]
        else:
            step = (entry.nbytes - window) / (count - 1)
            spans = [(entry.begin + round(i * step), window) for i in range(count)]
        try:
            with self.path.open("rb") as file:
                for begin, length in spans:
                    file.seek(begin)
                    yield self._take(file, length)
        except OSError as error:
            raise self._unreadable(error) from error

    def _take(self, file: BinaryIO, length: int) -> bytes:
        data = file.read(length)
        if len(data) != length:
            raise self._truncated(length, len(data))
        return data

    def _read_header(self, file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
        if size < 8:
            raise self._truncated(8, size)
        (length,) = struct.unpack("<Q", self._take(file, 8))
        if length > MAX_HEADER_BYTES:
            raise self._invalid(_("its header claims {length} bytes", length=length))
        if 8 + length > size:
            raise self._truncated(8 + length, size)
        try:
            header = json.loads(
                self._take(file, length).decode("utf-8"),
                object_pairs_hook=functools.partial(_unique, label=self.label),
            )
        except (ValueError, RecursionError) as error:
            raise self._invalid(_("its header is not JSON")) from error
        if not isinstance(header, dict):
            raise self._invalid(_("its header is not a JSON object"))
        return header, 8 + length

    def _check_entries(
        self, header: dict[str, Any], data_begin: int, data_size: int
    ) -> dict[str, TensorEntry]:
        entries = {
            name: self._parse_entry(name, value, data_begin)
            for name, value in header.items()
            if name != "__metadata__"
        }
        ordered = sorted(entries.items(), key=lambda item: (item[1].begin, item[1].nbytes))
        end = data_begin
        for name, entry in ordered:
            if entry.begin != end:
                raise self._invalid(
                    _(
                        "tensor {name} begins at byte {begin}, the one before it ends at {end}",
                        name=name,
                        begin=entry.begin - data_begin,
                        end=end - data_begin,
                    )
                )
            end += entry.nbytes
        if end - data_begin > data_size:
            raise self._truncated(end, data_begin + data_size)
        if end - data_begin < data_size:
            extra = data_begin + data_size - end
            raise self._invalid(
                _("{extra} bytes after the last tensor belong to none", extra=extra)
            )
        return dict(ordered)

    def _parse_entry(self, name: str, value: Any, data_begin: int) -> TensorEntry:
        if not name.isprintable() or not 0 < len(name) <= MAX_NAME_LENGTH:
            raise self._invalid(_("it names a tensor {name}", name=ascii(name[:80])))
        if not isinstance(value, dict) or set(value) != _ENTRY_KEYS:
            raise self._invalid(
                _("the entry of tensor {name} is not dtype, shape and data_offsets", name=name)
            )
        dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
        if not isinstance(dtype, str) or dtype not in ITEM_SIZES:
            found = ascii(dtype)[:80]
            raise self._invalid(
                _("tensor {name} has the unknown dtype {found}", name=name, found=found)
            )
        if not _naturals(shape) or len(shape) > MAX_DIMENSIONS or 0 in shape:
            raise self._invalid(_("the shape of tensor {name} is no list of sizes", name=name))
        if not _naturals(offsets) or len(offsets) != 2:
            raise self._invalid(_("the offsets of tensor {name} are no pair of sizes", name=name))
        begin, end = offsets
        nbytes = math.prod(shape) * ITEM_SIZES[dtype]
        if end - begin != nbytes:
            raise self._invalid(
                _(
                    "tensor {name} needs {needed} bytes for {dtype} {shape}, "
                    "its offsets span {found}",
                    name=name,
                    needed=nbytes,
                    dtype=dtype,
                    shape=shape,
                    found=end - begin,
                )
            )
        return TensorEntry(dtype, tuple(shape), data_begin + begin, nbytes)

    def _invalid(self, reason: str) -> CheckpointError:
        return _invalid_file(self.label, reason)

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


def _invalid_file(label: str, reason: str) -> CheckpointError:
    return CheckpointError(
        "{file} is not a valid safetensors file: {reason}.",
        hint="Fetch the file again, or have its author write it with the safetensors library.",
        file=label,
        reason=reason,
    )


def _unique(pairs: list[tuple[str, Any]], label: str) -> dict[str, Any]:
    """A JSON object whose keys are all different."""
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            name = ascii(key)[:200]
            raise _invalid_file(label, _("{name} occurs twice in its header", name=name))
        result[key] = value
    return result


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
