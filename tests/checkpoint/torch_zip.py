"""Files as `torch.save` writes them, by Python's pickle and zipfile, without torch.

Python's own pickler writes the program, over stand-ins that are called as torch's classes are; the
layout of the zip file is that of PyTorch 2 (`archive/data.pkl`, `archive/data/0`, …, records
aligned by an extra field).
"""

from __future__ import annotations

import collections
import dataclasses
import io
import pickle
import sys
import types
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

_torch = types.ModuleType("torch")
_utils = types.ModuleType("torch._utils")
STORAGES = {}
for _name in ("Float", "Half", "BFloat16", "Double", "Char", "Long", "ComplexFloat"):
    STORAGES[_name] = type(f"{_name}Storage", (), {"__module__": "torch"})
    setattr(_torch, f"{_name}Storage", STORAGES[_name])


def _rebuild_tensor_v2(*arguments: Any) -> None:
    raise AssertionError("a reader called what a file names")


def _rebuild_parameter(*arguments: Any) -> None:
    raise AssertionError("a reader called what a file names")


for _function in (_rebuild_tensor_v2, _rebuild_parameter):
    _function.__module__ = "torch._utils"
    _function.__qualname__ = _function.__name__
    setattr(_utils, _function.__name__, _function)

KINDS = {"float32": "Float", "float16": "Half", "uint16": "BFloat16", "int8": "Char",
         "float64": "Double", "int64": "Long"}  # fmt: skip


@dataclasses.dataclass(eq=False)
class Storage:
    """Elements that tensors share; of bfloat16 the bits, as uint16."""

    data: np.ndarray
    kind: str = ""
    claimed: int | None = None

    def __post_init__(self) -> None:
        self.kind = self.kind or KINDS[self.data.dtype.name]


@dataclasses.dataclass(eq=False)
class Tensor:
    """A view of a storage."""

    storage: Storage
    shape: Sequence[int]
    stride: Sequence[int]
    offset: int = 0
    parameter: bool = False

    def __reduce_ex__(self, protocol: int) -> Any:
        hooks: Any = collections.OrderedDict()
        if self.parameter:
            plain = dataclasses.replace(self, parameter=False)
            return _rebuild_parameter, (plain, True, hooks)
        view = (self.storage, self.offset, tuple(self.shape), tuple(self.stride), False, hooks)
        return _rebuild_tensor_v2, view


def tensor(array: np.ndarray, **changes: Any) -> Tensor:
    """A tensor with a storage of its own, as `torch.from_numpy` makes it."""
    base = array if array.base is None or array.base.ndim == 0 else array.base
    stride = [step // array.itemsize for step in array.strides]
    return Tensor(Storage(np.asarray(base).reshape(-1)), array.shape, stride, **changes)


class _Pickler(pickle.Pickler):
    """Writes storages as references, as torch's does."""

    def __init__(self, file: Any, protocol: int) -> None:
        super().__init__(file, protocol)
        self.storages: list[Storage] = []

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, Storage):
            return None
        if value not in self.storages:
            self.storages.append(value)
        numel = len(value.data) if value.claimed is None else value.claimed
        return ("storage", STORAGES[value.kind], str(self.storages.index(value)), "cpu", numel)


def dump(value: Any, protocol: int = 2) -> tuple[bytes, list[Storage]]:
    """data.pkl and the storages that it refers to."""
    out = io.BytesIO()
    with mock.patch.dict(sys.modules, {"torch": _torch, "torch._utils": _utils}):
        pickler = _Pickler(out, protocol)
        pickler.dump(value)
    return out.getvalue(), pickler.storages


def state_dict(tensors: Mapping[str, Any]) -> Any:
    """An OrderedDict with the attribute `_metadata`, as modules give it."""
    value: Any = collections.OrderedDict(
        (name, tensor(t) if isinstance(t, np.ndarray) else t) for name, t in tensors.items()
    )
    value._metadata = collections.OrderedDict({"": {"version": 1}, "transformer": {"version": 1}})
    return value


def write_records(path: Path, records: Mapping[str, bytes], compress: Sequence[str] = ()) -> Path:
    """A zip file of uncompressed records, each padded by an extra field."""
    with zipfile.ZipFile(path, "w") as file:
        for name, data in records.items():
            info = zipfile.ZipInfo(name)
            info.extra = b"FB\x08\x00" + b"Z" * 8
            method = zipfile.ZIP_DEFLATED if name in compress else zipfile.ZIP_STORED
            file.writestr(info, data, compress_type=method)
    return path


def records_of(value: Any, protocol: int = 2, folder: str = "archive") -> dict[str, bytes]:
    """The records of the file for any value."""
    program, storages = dump(value, protocol)
    records = {f"{folder}/data.pkl": program, f"{folder}/byteorder": b"little"}
    for i, storage in enumerate(storages):
        records[f"{folder}/data/{i}"] = storage.data.tobytes()
    records[f"{folder}/version"] = b"3\n"
    return records


def save(path: Path, tensors: Mapping[str, Any], protocol: int = 2) -> Path:
    """`torch.save(state_dict, path)`."""
    return write_records(path, records_of(state_dict(tensors), protocol))
