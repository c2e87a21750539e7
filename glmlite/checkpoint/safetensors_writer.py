"""Writes Hugging Face safetensors: one file, or shards with an index above a size."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from glmlite.checkpoint.tensors_out import OutputTensor
from glmlite.progress import Progress

SHARD_BYTES = 5_000_000_000  # as save_pretrained's max_shard_size
SINGLE = "model.safetensors"
CODES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_ALIGNMENT = 8


def write_safetensors(
    tensors: Mapping[str, OutputTensor],
    folder: Path,
    progress: Progress,
    shard_bytes: int = SHARD_BYTES,
) -> list[str]:
    """Write tensors in their order; one is in memory at a time.

    Args:
        tensors: Hugging Face name to what to write.
        folder: exists; gets `model.safetensors`, or `model-00001-of-0000N.safetensors` and
            `model.safetensors.index.json`.
        progress: advances by bytes written.
        shard_bytes: tensors of one file have at most so many bytes, unless a single one has more.

    Returns:
        Names of the files written.
    """
    shards = list(_split(tensors, shard_bytes))
    if len(shards) == 1:
        _write_file(folder / SINGLE, tensors, shards[0], progress)
        return [SINGLE]
    weight_map: dict[str, str] = {}
    files = []
    for i, names in enumerate(shards, 1):
        files.append(f"model-{i:05}-of-{len(shards):05}.safetensors")
        _write_file(folder / files[-1], tensors, names, progress)
        weight_map.update(dict.fromkeys(names, files[-1]))
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    files.append(f"{SINGLE}.index.json")
    (folder / files[-1]).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return files


def _split(tensors: Mapping[str, OutputTensor], limit: int) -> Iterator[list[str]]:
    names: list[str] = []
    size = 0
    for name, tensor in tensors.items():
        if names and size + tensor.nbytes > limit:
            yield names
            names, size = [], 0
        names.append(name)
        size += tensor.nbytes
    yield names


def _write_file(
    path: Path, tensors: Mapping[str, OutputTensor], names: list[str], progress: Progress
) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name in names:
        tensor = tensors[name]
        header[name] = {
            "dtype": CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            file.write(tensors[name].read())
            progress.advance(tensors[name].nbytes)
