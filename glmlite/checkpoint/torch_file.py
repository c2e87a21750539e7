"""One `.bin`, `.pth` or `.pt` file as `torch.save` writes it since torch 1.6: a zip file.

`NAME/data.pkl` describes the tensors, `NAME/data/KEY` holds the elements of one storage each.
Source: torch/serialization.py and caffe2/serialize/inline_container.cc of PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from glmlite.checkpoint.tensor_file import (
    ITEM_SIZES,
    MAX_DIMENSIONS,
    TensorEntry,
    TensorFile,
    is_name,
)
from glmlite.checkpoint.torch_pickle import ForbiddenError, StoredTensor, interpret
from glmlite.checkpoint.zip_directory import Record, read_directory
from glmlite.errors import CheckpointError
from glmlite.i18n import _

MAX_PICKLE_BYTES = 16 << 20
ZIP_MAGIC = b"PK\3\4"
_LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
# Training scripts put the state dict into a larger one.
_WRAPPERS = ("state_dict", "module", "model")


class TorchFile(TensorFile):
    """The tensors of one torch file; see `TensorFile`. Executes nothing that the file says."""

    format = "torch"

    def _index(self, file: BinaryIO, size: int) -> dict[str, TensorEntry]:
        magic = file.read(len(_LEGACY_MAGIC))
        if magic == _LEGACY_MAGIC:
            raise CheckpointError(
                "{file} is in torch's format of before 1.6, which cannot be read without executing "
                "what it says.",
                hint="Convert it where torch is installed, if you trust the file: "
                'torch.save(torch.load("{file}", weights_only=True, map_location="cpu"), '
                '"new.bin")',
                file=self.label,
            )
        if not magic.startswith(ZIP_MAGIC):
            raise self._invalid(_("it is no zip file"))
        records = read_directory(file, size, self._invalid)
        folder, program = self._find_program(file, records)
        tensors = self._find_tensors(self._interpret(program))
        entries = {}
        for name, tensor in tensors.items():
            record = records.get(f"{folder}data/{tensor.storage.key}")
            if record is None:
                raise self._invalid(_("the data of tensor {name} is missing", name=name))
            entries[name] = self._locate(name, tensor, record)
        return entries

    def _find_program(self, file: BinaryIO, records: Mapping[str, Record]) -> tuple[str, bytes]:
        """The folder inside the zip file, with its slash, and data.pkl."""
        found = [name for name in records if Path(name).name == "data.pkl"]
        if len(found) != 1:
            raise self._invalid(_("it has no data.pkl, or several"))
        folder = found[0].removesuffix("data.pkl")
        order = records.get(f"{folder}byteorder", Record(0, 0))
        file.seek(order.begin)
        if order.size and file.read(min(order.size, 16)) != b"little":
            raise self._invalid(_("its numbers are big-endian"))
        record = records[found[0]]
        if record.size > MAX_PICKLE_BYTES:
            raise self._invalid(_("its data.pkl has {size} bytes", size=record.size))
        file.seek(record.begin)
        return folder, self._take(file, record.size)

    def _interpret(self, program: bytes) -> Any:
        try:
            return interpret(program, self._invalid)
        except ForbiddenError as error:
            raise CheckpointError(
                "{file} does not hold tensors only: it asks for {wanted}. glmlite executes nothing "
                "that a file asks for.",
                hint="If you trust the file, save its tensors alone where torch is installed: "
                "torch.save(model.state_dict(), FILE). Otherwise keep away from it.",
                file=self.label,
                wanted=ascii(error.wanted)[1:-1][:120],
            ) from error

    def _find_tensors(self, value: Any) -> dict[str, StoredTensor]:
        if isinstance(value, dict) and not _has_tensors(value):
            nested = [value[key] for key in _WRAPPERS if _has_tensors(value.get(key))]
            if len(nested) == 1:
                value = nested[0]
        if not _has_tensors(value):
            raise self._invalid(_("it holds no state dict: names with a tensor each"))
        tensors = {}
        for name, tensor in value.items():
            if not isinstance(name, str) or not is_name(name):
                raise self._invalid(_("it names a tensor {name}", name=ascii(name)[:80]))
            if isinstance(tensor, StoredTensor):
                tensors[name] = tensor
        self.left_out = tuple(name for name in value if name not in tensors)
        return tensors

    def _locate(self, name: str, tensor: StoredTensor, record: Record) -> TensorEntry:
        storage, shape = tensor.storage, tensor.shape
        item = ITEM_SIZES[storage.dtype]
        if storage.numel * item != record.size:
            raise self._invalid(
                _(
                    "tensor {name} says that its storage has {claimed} bytes, but it has {found}",
                    name=name,
                    claimed=storage.numel * item,
                    found=record.size,
                )
            )
        if len(shape) != len(tensor.stride) or len(shape) > MAX_DIMENSIONS or 0 in shape:
            raise self._invalid(_("the shape of tensor {name} is no list of sizes", name=name))
        count = math.prod(shape)
        if tensor.offset + count > storage.numel:
            raise self._invalid(_("tensor {name} is larger than its storage", name=name))
        order = _dense_order(shape, tensor.stride)
        if order is None:
            raise CheckpointError(
                "{file}: tensor {name} is a view that leaves out or repeats elements of its "
                "storage (shape {shape}, strides {strides}).",
                hint="Save it with tensor.contiguous() where torch is installed.",
                file=self.label,
                name=name,
                shape=list(shape),
                strides=list(tensor.stride),
            )
        span = (record.begin + tensor.offset * item, count * item)
        natural = order == tuple(range(len(shape)))
        return TensorEntry(storage.dtype, shape, (span,), None if natural else order)

    def _invalid(self, reason: str) -> CheckpointError:
        return CheckpointError(
            "{file} is not a valid torch checkpoint: {reason}.",
            hint="Fetch the file again, or have its author save it as safetensors: "
            "model.save_pretrained(DIR, safe_serialization=True) in transformers.",
            file=self.label,
            reason=reason,
        )


def _has_tensors(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(v, StoredTensor) for v in value.values())


def _dense_order(shape: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, ...] | None:
    """Axes from slowest to fastest of a view without holes and repetitions; None for any other."""
    long = [axis for axis, size in enumerate(shape) if size > 1]
    order = sorted(long, key=lambda axis: -stride[axis])
    expected = 1
    for axis in reversed(order):
        if stride[axis] != expected:
            return None
        expected *= shape[axis]
    if order == long:
        return tuple(range(len(shape)))
    return (*(axis for axis, size in enumerate(shape) if size == 1), *order)
