"""Where a conversion may write, and what a Hugging Face folder has besides weights."""

from __future__ import annotations

import fnmatch
import json
import shutil
from pathlib import Path

from glmlite.checkpoint.checkpoint import Checkpoint
from glmlite.checkpoint.files import inside
from glmlite.errors import CheckpointError, ConfigError

CONFIG = "config.json"
# transformers needs the modules of trust_remote_code by these names.
COMPANIONS = (
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "configuration_chatglm.py",
    "modeling_chatglm.py",
    "tokenization_chatglm.py",
    "quantization.py",
)
_WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
_FILE_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".json", ".mindir", ".onnx")


def check_file(output: Path, overwrite: bool) -> None:
    """Refuse a `.ckpt` that exists, unless it may be replaced."""
    if not output.exists() and not output.is_symlink():
        return
    if not output.is_file():
        raise _left_alone(output)
    if not overwrite:
        raise _there_already(output)


def check_folder(output: Path, overwrite: bool) -> None:
    """Refuse a folder that exists, unless it may be replaced and holds nothing else."""
    if output.suffix in _FILE_SUFFIXES:
        raise ConfigError(
            "{path} is neither a folder nor a .ckpt.",
            hint="Name a folder for Hugging Face safetensors, or a file ending in .ckpt for "
            "MindSpore.",
            path=str(output),
        )
    if not output.exists() and not output.is_symlink():
        return
    if not output.is_dir() or not all(_is_ours(path) for path in output.iterdir()):
        raise _left_alone(output)
    if any(output.iterdir()) and not overwrite:
        raise _there_already(output)


def _is_ours(path: Path) -> bool:
    """Whether a conversion writes files of this name."""
    known = path.name in (CONFIG, *COMPANIONS)
    return path.is_file() and (known or any(fnmatch.fnmatch(path.name, w) for w in _WEIGHTS))


def check_apart(checkpoint: Checkpoint, output: Path) -> None:
    """Refuse to replace what is being read."""
    resolved = output.resolve()
    if resolved == checkpoint.path or resolved in checkpoint.path.parents:
        raise ConfigError(
            "{path} is what would be converted.",
            hint="Name another destination.",
            path=str(output),
        )


def check_space(folder: Path, needed: int) -> None:
    """Refuse to begin what cannot end."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CheckpointError(
            "The conversion needs {needed:.1f} GB of disk and {path} has {free:.1f} GB free.",
            hint="Free some space, or name another destination.",
            needed=needed / 1e9,
            free=free / 1e9,
            path=str(folder.parent),
        )


def copy_companions(checkpoint: Checkpoint, folder: Path, dtype: str | None) -> None:
    """Copy what belongs to the model besides weights.

    config.json stays byte by byte unless it would be wrong: `torch_dtype` becomes `dtype`, and
    `quantization_bit` 0 for weights that were computed from integers.

    Args:
        checkpoint: the source.
        folder: of the new weights.
        dtype: what the weights were changed to, or None.
    """
    for name in (CONFIG, *COMPANIONS):
        path = inside(checkpoint.folder, name)
        if path:
            shutil.copyfile(path, folder / name)
    config = dict(checkpoint.raw_config or {})
    if dtype:
        config["torch_dtype"] = dtype
    if checkpoint.quantization != "none":
        config |= {"quantization_bit": 0, "torch_dtype": dtype or checkpoint.dtype}
    if checkpoint.raw_config is not None and config != checkpoint.raw_config:
        text = json.dumps(config, indent=2, ensure_ascii=False)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def _left_alone(output: Path) -> CheckpointError:
    return CheckpointError(
        "{path} exists and holds something else than a converted checkpoint; it is left alone.",
        hint="Name another destination.",
        path=str(output),
    )


def _there_already(output: Path) -> CheckpointError:
    return CheckpointError(
        "There is a checkpoint at {path} already.",
        hint="Name another destination, or replace it with --force.",
        path=str(output),
    )
