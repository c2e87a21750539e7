"""One safetensors file, read as hostile input.

The safetensors library has no NumPy view of bfloat16 and its errors do not name tensors, so the
header is parsed here (format: https://github.com/huggingface/safetensors#format): eight bytes of
header length, little endian; a JSON object `name: {dtype, shape, data_offsets}`; then the data,
without holes.
"""

from __future__ import annotations

import functools
import json
import math
import struct
from typing import Any, BinaryIO

from glmlite.checkpoint.tensor_file import (
    ITEM_SIZES,
    MAX_DIMENSIONS,
    MAX_SIZE,
    TensorEntry,
    TensorFile,
    is_name,
)
from glmlite.errors import CheckpointError
from glmlite.i18n import _

# The library allows 100 MB, which as Python objects are more than 2 GB; a 6B model's has 30 kB.
MAX_HEADER_BYTES = 4 << 20
_ENTRY_KEYS = {"dtype", "shape", "data_offsets"}


class SafetensorsFile(TensorFile):
    """The tensors of one safetensors file; see `TensorFile`."""

    format = "safetensors"

    def _index(self, file: BinaryIO, size: int) -> dict[str, TensorEntry]:
        header, data_begin = self._read_header(file, size)
        return self._check_entries(header, data_begin, size - data_begin)

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
        ordered = sorted(entries.items(), key=lambda item: item[1].spans)
        end = data_begin
        for name, entry in ordered:
            begin = entry.spans[0][0]
            if begin != end:
                raise self._invalid(
                    _(
                        "tensor {name} begins at byte {begin}, the one before it ends at {end}",
                        name=name,
                        begin=begin - data_begin,
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
        if not is_name(name):
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
        return TensorEntry(dtype, tuple(shape), ((data_begin + begin, nbytes),))

    def _invalid(self, reason: str) -> CheckpointError:
        return _invalid_file(self.label, reason)


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
    return isinstance(value, list) and all(
        type(item) is int and 0 <= item < MAX_SIZE for item in value
    )
