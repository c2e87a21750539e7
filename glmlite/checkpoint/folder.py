"""Hugging Face folders: config.json, tokenizer.model and one or more safetensors files."""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from glmlite.checkpoint.files import inside, read_json
from glmlite.checkpoint.fingerprint import fingerprint_tensors
from glmlite.checkpoint.safetensors_file import FLOAT_NAMES, SafetensorsFile, TensorEntry
from glmlite.errors import CheckpointError
from glmlite.model.parameters import is_ignored

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pth", "*.pt", "*.ckpt")


class Checkpoint:
    """A trained model on disk; a `WeightSource` that reads one tensor at a time.

    Attributes:
        path: the folder or file that was opened, resolved.
        raw_config: the parsed config.json, or None where there is none.
        tokenizer_path: `tokenizer.model` beside the weights, or None.
        dtype: "float32", "float16" or "bfloat16": what most bytes are stored as.
        nbytes: bytes of all tensors on disk.
    """

    def __init__(
        self,
        path: Path,
        shards: list[SafetensorsFile],
        raw_config: dict[str, Any] | None,
        tokenizer_path: Path | None,
    ) -> None:
        self.path = path
        self.raw_config = raw_config
        self.tokenizer_path = tokenizer_path
        self._shards: dict[str, SafetensorsFile] = {}
        for shard in shards:
            for name in shard.entries:
                if name in self._shards:
                    raise CheckpointError(
                        "Tensor {name} is in {first} and in {second}.",
                        hint="Keep one set of shards in the folder; this looks like two.",
                        name=name,
                        first=self._shards[name].label,
                        second=shard.label,
                    )
                self._shards[name] = shard
        self._refuse_other_dtypes()
        bytes_of: collections.Counter[str] = collections.Counter()
        for name in self._shards:
            entry = self._entry(name)
            if entry.dtype in FLOAT_NAMES:
                bytes_of[FLOAT_NAMES[entry.dtype]] += entry.nbytes
        if not bytes_of:
            raise CheckpointError("{path} holds no tensors.", path=path.name)
        self.dtype: str = bytes_of.most_common(1)[0][0]
        self.nbytes: int = sum(self._entry(name).nbytes for name in self._shards)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """See `WeightSource.shapes`."""
        return {name: self._entry(name).shape for name in self._shards}

    def read(self, name: str) -> NDArray[Any]:
        """See `WeightSource.read`."""
        if name not in self._shards:
            raise CheckpointError(
                "The checkpoint {path} has no tensor {name}.", path=self.path.name, name=name
            )
        return self._shards[name].read(name)

    def fingerprint(self) -> dict[str, Any]:
        """The identity of these weights for a manifest; see `fingerprint_tensors`."""
        return {
            "dtype": self.dtype,
            "tensors": len(self._shards),
            "parameters": sum(math.prod(self._entry(name).shape) for name in self._shards),
            "bytes": self.nbytes,
            "sha256": fingerprint_tensors(self._shards),
        }

    def _entry(self, name: str) -> TensorEntry:
        return self._shards[name].entries[name]

    def _refuse_other_dtypes(self) -> None:
        for name, shard in self._shards.items():
            dtype = shard.entries[name].dtype
            if dtype not in FLOAT_NAMES and not is_ignored(name):
                raise CheckpointError(
                    "{file}: tensor {name} has dtype {dtype}; glmlite reads F32, F16 and BF16.",
                    hint="A quantized checkpoint cannot be exported; use the original one.",
                    file=shard.label,
                    name=name,
                    dtype=dtype,
                )


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a Hugging Face folder, an index or one safetensors file; reads headers only.

    A folder holds `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
    For a file, config.json and tokenizer.model are looked up beside it.

    Raises:
        CheckpointError: nothing readable is there; a file is damaged, lies outside the folder, or
            is of a format that is not supported yet.
    """
    given = Path(path).expanduser()
    try:
        resolved = given.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            "There is no checkpoint at {path}.",
            hint="Name a Hugging Face folder: --checkpoint DIR (config.json, *.safetensors).",
            path=ascii(str(given)) if "\0" in str(given) else given,
        ) from error
    if resolved.is_dir():
        folder, shards = resolved, _open_folder(resolved)
    elif not resolved.is_file():
        raise CheckpointError("{file} is not a regular file.", file=given.name)
    else:
        # The parent as given: in a Hugging Face cache the file itself is a link to a blob.
        folder, shards = given.parent.resolve(), _open_file(given)
    config = inside(folder, "config.json")
    return Checkpoint(
        resolved,
        shards,
        read_json(config) if config else None,
        inside(folder, "tokenizer.model"),
    )


def _open_folder(folder: Path) -> list[SafetensorsFile]:
    single = inside(folder, SINGLE)
    if single:
        return [SafetensorsFile(single, SINGLE)]
    index = inside(folder, INDEX)
    if index:
        return _open_index(folder, index)
    others = sorted(p.name for p in folder.glob("*.safetensors"))
    if others:
        raise CheckpointError(
            "{folder} has neither {single} nor {index}, only {found}.",
            hint="Fetch the index as well, or name the one file that holds the whole model.",
            folder=folder.name,
            single=SINGLE,
            index=INDEX,
            found=", ".join(others[:4]),
        )
    pickles = sorted(p.name for pattern in _PICKLES for p in folder.glob(pattern))
    if pickles:
        raise _pickled(pickles[0])
    raise CheckpointError(
        "{folder} holds no weights: neither {single} nor {index} is there.",
        hint="Name a Hugging Face folder: --checkpoint DIR (config.json, *.safetensors).",
        folder=folder.name,
        single=SINGLE,
        index=INDEX,
    )


def _open_file(path: Path) -> list[SafetensorsFile]:
    if path.name.endswith(".safetensors.index.json"):
        return _open_index(path.parent.resolve(), path)
    if path.suffix == ".safetensors":
        return [SafetensorsFile(path.resolve(), path.name)]
    if any(path.match(pattern) for pattern in _PICKLES):
        raise _pickled(path.name)
    raise CheckpointError(
        "{file} is no checkpoint that glmlite knows.",
        hint="Name a Hugging Face folder: --checkpoint DIR (config.json, *.safetensors).",
        file=path.name,
    )


def _open_index(folder: Path, index: Path) -> list[SafetensorsFile]:
    weight_map = read_json(index).get("weight_map")
    if (
        not isinstance(weight_map, dict)
        or not weight_map
        or not all(isinstance(shard, str) for shard in weight_map.values())
    ):
        raise CheckpointError("{file} has no weight_map of names to files.", file=index.name)
    shards: dict[str, SafetensorsFile] = {}
    for name in sorted(set(weight_map.values())):
        shard = inside(folder, name)
        if shard is None:
            raise CheckpointError(
                "The shard {shard}, which {file} lists, is missing.",
                hint="Fetch the missing file; a checkpoint is complete or of no use.",
                shard=name,
                file=index.name,
            )
        shards[name] = SafetensorsFile(shard, name)
    for tensor, shard_name in weight_map.items():
        if tensor not in shards[shard_name].entries:
            raise CheckpointError(
                "{file} promises tensor {name} in {shard}, but it is not there.",
                hint="The index and the shards are of different versions; fetch both again.",
                file=index.name,
                name=tensor if tensor.isprintable() else ascii(tensor),
                shard=shard_name,
            )
    for shard_name, opened in shards.items():
        for tensor in opened.entries:
            if weight_map.get(tensor) != shard_name:
                raise CheckpointError(
                    "{shard} holds tensor {name}, which {file} does not list there.",
                    hint="The index and the shards are of different versions; fetch both again.",
                    shard=shard_name,
                    name=tensor,
                    file=index.name,
                )
    return list(shards.values())


def _pickled(name: str) -> CheckpointError:
    return CheckpointError(
        "{file} is not a safetensors file; .bin, .pth and .ckpt checkpoints are not supported yet.",
        hint="Convert it to safetensors first: model.save_pretrained(DIR, "
        "safe_serialization=True) in transformers.",
        file=name,
    )
