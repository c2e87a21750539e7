"""One set of tensors in every format that is read: folder and tensors in, what to open out.

Names are those of Hugging Face; of a bfloat16 model a tensor holds the bits, as uint16.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmlite.checkpoint.folder import INDEX, SINGLE, TORCH_INDEX, TORCH_SINGLE
from glmlite.checkpoint.names import to_mindspore
from tests.checkpoint import torch_zip
from tests.checkpoint.ckpt_message import value
from tests.fixtures.writing import write_safetensors

Tensors = dict[str, NDArray[Any]]


def _split(tensors: Tensors, count: int) -> list[Tensors]:
    names = list(tensors)
    return [{name: tensors[name] for name in names[i::count]} for i in range(count)]


def _save_safetensors(path: Path, tensors: Tensors) -> None:
    bits = any(t.dtype == np.uint16 for t in tensors.values())
    if bits:
        wide = {n: (t.astype(np.uint32) << 16).view(np.float32) for n, t in tensors.items()}
        write_safetensors(path, wide, "bfloat16")
    else:
        write_safetensors(path, tensors, next(iter(tensors.values())).dtype.name)


def _write_index(path: Path, parts: dict[str, Tensors]) -> None:
    weight_map = {name: file for file, own in parts.items() for name in own}
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def write_single(folder: Path, tensors: Tensors) -> Path:
    _save_safetensors(folder / SINGLE, tensors)
    return folder


def write_shards(folder: Path, tensors: Tensors) -> Path:
    names = [f"model-{i + 1:05}-of-00003.safetensors" for i in range(3)]
    parts = dict(zip(names, _split(tensors, 3), strict=True))
    for name, own in parts.items():
        _save_safetensors(folder / name, own)
    _write_index(folder / INDEX, parts)
    return folder


def write_torch(folder: Path, tensors: Tensors) -> Path:
    torch_zip.save(folder / TORCH_SINGLE, tensors)
    return folder


def write_pth(folder: Path, tensors: Tensors) -> Path:
    return torch_zip.save(folder / "glm2_6b.pth", tensors)


def write_torch_shards(folder: Path, tensors: Tensors) -> Path:
    names = [f"pytorch_model-{i + 1:05}-of-00003.bin" for i in range(3)]
    parts = dict(zip(names, _split(tensors, 3), strict=True))
    for name, own in parts.items():
        torch_zip.save(folder / name, own)
    _write_index(folder / TORCH_INDEX, parts)
    return folder


def write_ckpt(folder: Path, tensors: Tensors) -> Path:
    """With the state of training that MindFormers leaves in it."""
    path = folder / "glm.ckpt"
    parts = [value(to_mindspore(name), tensor) for name, tensor in tensors.items()]
    state = [value("adam_m." + to_mindspore(name), tensor) for name, tensor in tensors.items()]
    path.write_bytes(b"".join([*parts, *state, value("global_step", np.int32([9]))]))
    return path


def write_ckpt_pieces(folder: Path, tensors: Tensors) -> Path:
    for i, own in enumerate(_split(tensors, 3)):
        parts = [value(to_mindspore(name), tensor) for name, tensor in own.items()]
        parts.append(value("global_step", np.int32([9])))
        (folder / f"piece{i}.ckpt").write_bytes(b"".join(parts))
    return folder


def write_mindspore_safetensors(folder: Path, tensors: Tensors) -> Path:
    path = folder / "glm2_6b.safetensors"
    _save_safetensors(path, {to_mindspore(n): t for n, t in tensors.items()})
    return path


def write_unified(folder: Path, tensors: Tensors) -> Path:
    """As `mindspore.unified_safetensors` lays files out."""
    renamed = {to_mindspore(n): t for n, t in tensors.items()}
    parts = {f"part{i}.safetensors": own for i, own in enumerate(_split(renamed, 2))}
    for name, own in parts.items():
        _save_safetensors(folder / name, own)
    _write_index(folder / "param_name_map.json", parts)
    return folder


WRITERS = {
    "safetensors": write_single,
    "safetensors shards": write_shards,
    "torch": write_torch,
    "torch pth": write_pth,
    "torch shards": write_torch_shards,
    "ckpt": write_ckpt,
    "ckpt pieces": write_ckpt_pieces,
    "mindspore safetensors": write_mindspore_safetensors,
    "unified safetensors": write_unified,
}
