"""An open checkpoint: tensors of one or several files under their Hugging Face names."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from glmlite.checkpoint import quantized
from glmlite.checkpoint.fingerprint import fingerprint_tensors
from glmlite.checkpoint.names import is_training_state, to_huggingface
from glmlite.checkpoint.tensor_file import FLOAT_NAMES, TensorEntry, TensorFile, unreadable_dtype
from glmlite.errors import CheckpointError
from glmlite.i18n import _
from glmlite.model.parameters import is_ignored


@dataclasses.dataclass(frozen=True)
class TensorPlace:
    """The file that holds a tensor, and its name there."""

    file: TensorFile
    stored_name: str

    @property
    def entry(self) -> TensorEntry:
        """Type, shape and place."""
        return self.file.entries[self.stored_name]


class Checkpoint:
    """A trained model on disk; a `WeightSource` that reads one tensor at a time.

    Attributes:
        path: the folder or file that was opened, resolved.
        folder: where config.json and the like lie.
        raw_config: the parsed config.json, or None where there is none.
        tokenizer_path: `tokenizer.model` beside the weights, or None.
        format: "safetensors", "torch" or "mindspore".
        dtype: "float32", "float16" or "bfloat16": what most bytes of real numbers are stored as.
        quantization: "none", or "int4" or "int8" for the official quantized checkpoints, whose
            matrices are computed from integers and scales when they are read.
        left_out: what the files hold besides weights: the state of an optimizer, counters, texts.
        nbytes: bytes of all tensors on disk.
    """

    def __init__(
        self,
        path: Path,
        files: list[TensorFile],
        raw_config: dict[str, Any] | None,
        tokenizer_path: Path | None,
        folder: Path,
    ) -> None:
        self.path = path
        self.folder = folder
        self.raw_config = raw_config
        self.tokenizer_path = tokenizer_path
        self.format: str = files[0].format
        self._places = _collect(files)
        state = [name for name in self._places if is_training_state(name)]
        self.left_out = (*(name for file in files for name in file.left_out), *state)
        for name in state:
            del self._places[name]
        entries = {name: place.entry for name, place in self._places.items()}
        self._quantized = quantized.find_quantized(entries)
        self._bits: quantized.Bits = 8
        if self._quantized:
            self._bits = quantized.find_bits(entries, raw_config, path.name)
        self.quantization: Literal["none", "int4", "int8"] = "none"
        if self._quantized:
            self.quantization = "int4" if self._bits == 4 else "int8"
        self._refuse_other_dtypes()
        bytes_of: collections.Counter[str] = collections.Counter()
        for entry in entries.values():
            if entry.dtype in FLOAT_NAMES:
                bytes_of[FLOAT_NAMES[entry.dtype]] += entry.nbytes
        if not bytes_of:
            raise CheckpointError("{path} holds no tensors.", path=path.name)
        self.dtype: str = bytes_of.most_common(1)[0][0]
        self.nbytes: int = sum(entry.nbytes for entry in entries.values())

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """See `WeightSource.shapes`."""
        return {
            name: quantized.full_shape(place.entry, self._bits)
            if name in self._quantized
            else place.entry.shape
            for name, place in self._places.items()
            if not self._is_scale(name)
        }

    def dtype_of(self, name: str) -> str:
        """What a tensor is stored as: as `dtype`, "int4" or "int8", or a type without weights."""
        if name in self._quantized:
            return self.quantization
        dtype = self._place(name).entry.dtype
        return FLOAT_NAMES.get(dtype, dtype)

    def read(self, name: str) -> NDArray[Any]:
        """See `WeightSource.read`."""
        place = self._place(name)
        if name not in self._quantized:
            return place.file.read(place.stored_name)
        scale = self._place(name + quantized.SCALE)
        return quantized.dequantize(
            place.file.read_int8(place.stored_name), scale.file.read(scale.stored_name), self._bits
        )

    def notes(self) -> list[str]:
        """What a user should know about these files, one sentence each."""
        notes = []
        if self.quantization != "none":
            notes.append(
                _(
                    "The checkpoint is quantized ({kind}): {count} matrices are computed from "
                    "integers and one scale per row; the precision it lost stays lost.",
                    kind=self.quantization,
                    count=len(self._quantized),
                )
            )
        if self.left_out:
            shown = ", ".join(ascii(name)[1:-1] for name in self.left_out[:3])
            notes.append(
                _(
                    "Left out of the checkpoint: {count} entries of the training state, such as "
                    "{names}.",
                    count=len(self.left_out),
                    names=shown,
                )
            )
        return notes

    def fingerprint(self) -> dict[str, Any]:
        """The identity of these weights for a manifest; see `fingerprint_tensors`."""
        shapes = self.shapes()
        description: dict[str, Any] = {
            "dtype": self.dtype,
            "tensors": len(shapes),
            "parameters": sum(math.prod(shape) for shape in shapes.values()),
            "bytes": self.nbytes,
            "sha256": fingerprint_tensors(
                {name: (place.file, place.stored_name) for name, place in self._places.items()}
            ),
        }
        if self._quantized:
            description["quantization"] = self.quantization
        return description

    def _is_scale(self, name: str) -> bool:
        return name.removesuffix(quantized.SCALE) in self._quantized and name not in self._quantized

    def _place(self, name: str) -> TensorPlace:
        if name not in self._places:
            raise CheckpointError(
                "The checkpoint {path} has no tensor {name}.", path=self.path.name, name=name
            )
        return self._places[name]

    def _refuse_other_dtypes(self) -> None:
        for name, place in self._places.items():
            dtype = place.entry.dtype
            if dtype not in FLOAT_NAMES and name not in self._quantized and not is_ignored(name):
                raise unreadable_dtype(place.file.label, name, dtype)


def _collect(files: list[TensorFile]) -> dict[str, TensorPlace]:
    places: dict[str, TensorPlace] = {}
    for file in files:
        for stored_name in file.entries:
            name = to_huggingface(stored_name)
            if is_training_state(name) and name in places:
                continue  # every piece of a checkpoint carries its own counters
            if name in places:
                raise CheckpointError(
                    "Tensor {name} is in {first} and in {second}.",
                    hint="Keep one set of shards in the folder, or name the one file that holds "
                    "the whole model.",
                    name=name,
                    first=places[name].file.label,
                    second=file.label,
                )
            places[name] = TensorPlace(file, stored_name)
    return places
