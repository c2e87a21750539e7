"""Finding the files of a checkpoint: Hugging Face and MindSpore folders, or single files."""

from __future__ import annotations

from pathlib import Path

from glmlite.checkpoint.checkpoint import Checkpoint
from glmlite.checkpoint.files import inside, read_json
from glmlite.checkpoint.mindspore_file import MindSporeFile
from glmlite.checkpoint.safetensors_file import SafetensorsFile
from glmlite.checkpoint.tensor_file import TensorFile
from glmlite.checkpoint.torch_file import ZIP_MAGIC, TorchFile
from glmlite.errors import CheckpointError
from glmlite.i18n import _

__all__ = ["INDEX", "SINGLE", "TORCH_INDEX", "TORCH_SINGLE", "Checkpoint", "open_checkpoint"]

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
TORCH_SINGLE = "pytorch_model.bin"
TORCH_INDEX = "pytorch_model.bin.index.json"
# What mindspore.unified_safetensors writes beside its part0.safetensors, part1.safetensors, …
MINDSPORE_INDEX = "param_name_map.json"
_TORCH_SUFFIXES = (".bin", ".pth", ".pt")
_INDEX_SUFFIX = ".index.json"


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a checkpoint of any format that glmlite reads; reads headers only.

    A folder holds `model.safetensors`, `pytorch_model.bin`, the shards that the index of one of
    them lists, MindSpore's unified safetensors, or one or several `.ckpt` with different tensors.
    For a file, config.json and tokenizer.model are looked up beside it.

    Raises:
        CheckpointError: nothing readable is there; a file is damaged, lies outside the folder, or
            asks for more than its tensors to be read.
    """
    given = Path(path).expanduser()
    try:
        resolved = given.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            "There is no checkpoint at {path}.",
            hint="Name a Hugging Face folder (config.json, *.safetensors or *.bin) or a MindSpore "
            ".ckpt: --checkpoint PATH",
            path=ascii(str(given)) if "\0" in str(given) else given,
        ) from error
    if resolved.is_dir():
        folder, files = resolved, _open_folder(resolved)
    elif not resolved.is_file():
        raise CheckpointError("{file} is not a regular file.", file=given.name)
    else:
        # The parent as given: in a Hugging Face cache the file itself is a link to a blob.
        folder, files = given.parent.resolve(), _open_file(given)
    config = inside(folder, "config.json")
    return Checkpoint(
        resolved,
        files,
        read_json(config) if config else None,
        inside(folder, "tokenizer.model"),
        folder,
    )


def _open_folder(folder: Path) -> list[TensorFile]:
    for single in (SINGLE, TORCH_SINGLE):
        path = inside(folder, single)
        if path:
            return [_open_tensors(path, single)]
        index = inside(folder, single + _INDEX_SUFFIX)
        if index:
            return _open_index(folder, index)
    index = inside(folder, MINDSPORE_INDEX)
    if index:
        return _open_index(folder, index)
    pieces = sorted(p.name for p in folder.glob("*.ckpt"))
    if pieces:
        return [_open_tensors(_existing(folder, name), name) for name in pieces]
    others = sorted(p.name for p in folder.iterdir() if _kind(p.name))
    if others:
        raise CheckpointError(
            "{folder} has neither {single} nor {index}, only {found}.",
            hint="Fetch the index as well, or name the one file that holds the whole model.",
            folder=folder.name,
            single=SINGLE,
            index=INDEX,
            found=", ".join(ascii(name)[1:-1] for name in others[:4]),
        )
    raise CheckpointError(
        "{folder} holds no weights: no {single}, no {other}, no *.ckpt is there.",
        hint="Name a Hugging Face folder (config.json, *.safetensors or *.bin) or a MindSpore "
        ".ckpt: --checkpoint PATH",
        folder=folder.name,
        single=SINGLE,
        other=TORCH_SINGLE,
    )


def _open_file(path: Path) -> list[TensorFile]:
    if path.name.endswith(_INDEX_SUFFIX) or path.name == MINDSPORE_INDEX:
        return _open_index(path.parent.resolve(), path)
    return [_open_tensors(path.resolve(), path.name)]


def _kind(name: str) -> type[TensorFile] | None:
    """The format that a file's name promises."""
    suffix = Path(name).suffix
    if suffix == ".safetensors":
        return SafetensorsFile
    if suffix == ".ckpt":
        return MindSporeFile
    return TorchFile if suffix in _TORCH_SUFFIXES else None


def _open_tensors(path: Path, label: str) -> TensorFile:
    """Open one file; `label` has its real name, `path` may be a blob of a cache."""
    kind = _kind(label)
    if kind is None:
        raise CheckpointError(
            "{file} is no checkpoint that glmlite knows.",
            hint="Name a Hugging Face folder (config.json, *.safetensors or *.bin) or a MindSpore "
            ".ckpt: --checkpoint PATH",
            file=label if label.isprintable() else ascii(label),
        )
    if kind is MindSporeFile and _begins_with(path, ZIP_MAGIC):
        kind = TorchFile  # PyTorch Lightning calls its checkpoints .ckpt too
    return kind(path, label)


def _begins_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError:
        return False  # opening it for good says why


def _existing(folder: Path, name: str) -> Path:
    path = inside(folder, name)
    if path is None:
        raise CheckpointError(
            "{file} cannot be read: {reason}.", file=name, reason=_("it is a link to nothing")
        )
    return path


def _open_index(folder: Path, index: Path) -> list[TensorFile]:
    weight_map = read_json(index).get("weight_map")
    if (
        not isinstance(weight_map, dict)
        or not weight_map
        or not all(isinstance(shard, str) for shard in weight_map.values())
    ):
        raise CheckpointError("{file} has no weight_map of names to files.", file=index.name)
    shards: dict[str, TensorFile] = {}
    for name in sorted(set(weight_map.values())):
        shard = inside(folder, name)
        if shard is None:
            raise CheckpointError(
                "The shard {shard}, which {file} lists, is missing.",
                hint="Fetch the missing file; a checkpoint is complete or of no use.",
                shard=name,
                file=index.name,
            )
        shards[name] = _open_tensors(shard, name)
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
