"""Conversion between Hugging Face folders and MindSpore files, bit by bit where types agree."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

from glmlite.checkpoint.checkpoint import Checkpoint
from glmlite.checkpoint.destination import (
    check_apart,
    check_file,
    check_folder,
    check_space,
    copy_companions,
)
from glmlite.checkpoint.folder import open_checkpoint
from glmlite.checkpoint.mindspore_writer import write_ckpt
from glmlite.checkpoint.names import to_mindspore
from glmlite.checkpoint.safetensors_writer import SHARD_BYTES, write_safetensors
from glmlite.checkpoint.tensors_out import DTYPES, OutputTensor
from glmlite.errors import CheckpointError, ConfigError
from glmlite.i18n import _
from glmlite.model.parameters import is_ignored
from glmlite.progress import NoProgress, Progress
from glmlite.staging import move_into_place, staging_folder


@dataclasses.dataclass(frozen=True)
class ConversionReport:
    """What a conversion wrote.

    Attributes:
        path: the folder or file.
        format: "safetensors" or "mindspore".
        dtypes: type of real numbers to how many tensors have it.
        nbytes: of all tensors.
        notes: what the user should know, one sentence each.
    """

    path: Path
    format: str
    tensors: int
    dtypes: dict[str, int]
    nbytes: int
    notes: tuple[str, ...]
    seconds: float


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    dtype: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> ConversionReport:
    """Write a checkpoint in another format.

    Names become those of the destination; values stay bit by bit unless `dtype` asks for another
    type. Rotary buffers and the state of training are left out.

    Args:
        source: anything that `open_checkpoint` opens.
        destination: a path ending in `.ckpt` (MindSpore), or any other: a Hugging Face folder of
            safetensors, with config.json and tokenizer where the source has them.
        dtype: "float32", "float16" or "bfloat16"; None: each tensor as it is stored, and of a
            quantized checkpoint the type of its scales.
        overwrite: replace what a conversion wrote there before.
        progress: advances by bytes.
        shard_bytes: size of a safetensors file at most.

    Raises:
        CheckpointError: the source cannot be read, or the destination cannot be written; nothing
            is left there.
        ConfigError: the destination or the type makes no sense.
    """
    started = time.monotonic()
    progress = progress or NoProgress()
    if dtype not in (None, *DTYPES):
        raise ConfigError(
            "There is no type {found!r}; there are: {known}.", found=dtype, known=", ".join(DTYPES)
        )
    output = Path(destination).expanduser().absolute()
    to_ckpt = output.suffix == ".ckpt"
    (check_file if to_ckpt else check_folder)(output, overwrite)
    checkpoint = open_checkpoint(source)
    check_apart(checkpoint, output)
    dropped = [name for name in checkpoint.shapes() if is_ignored(name)]
    tensors = {
        to_mindspore(name) if to_ckpt else name: OutputTensor(
            checkpoint, name, dtype or _natural_dtype(checkpoint, name), tuple(shape)
        )
        for name, shape in checkpoint.shapes().items()
        if name not in dropped
    }
    nbytes = sum(tensor.nbytes for tensor in tensors.values())
    try:
        with staging_folder(output) as folder:
            check_space(folder, nbytes)
            progress.stage(_("Writing the weights"), nbytes, "B")
            if to_ckpt:
                write_ckpt(tensors, folder / output.name, progress)
            else:
                write_safetensors(tensors, folder, progress, shard_bytes)
                copy_companions(checkpoint, folder, dtype)
            move_into_place(folder / output.name if to_ckpt else folder, output)
    except OSError as error:
        raise CheckpointError(
            "{path} cannot be written: {error}. Nothing was kept.",
            hint="Free some space, or name another destination.",
            path=str(output),
            error=error.strerror or str(error),
        ) from error
    finally:
        progress.done()
    dtypes = [tensor.dtype for tensor in tensors.values()]
    return ConversionReport(
        path=output,
        format="mindspore" if to_ckpt else "safetensors",
        tensors=len(tensors),
        dtypes={name: dtypes.count(name) for name in DTYPES if name in dtypes},
        nbytes=nbytes,
        notes=tuple(_notes(checkpoint, dropped, dtypes, to_ckpt)),
        seconds=time.monotonic() - started,
    )


def _natural_dtype(checkpoint: Checkpoint, name: str) -> str:
    dtype = checkpoint.dtype_of(name)
    return dtype if dtype in DTYPES else checkpoint.dtype


def _notes(
    checkpoint: Checkpoint, dropped: list[str], dtypes: list[str], to_ckpt: bool
) -> Iterator[str]:
    """What the user should know about this conversion."""
    yield from checkpoint.notes()
    if dropped:
        yield _(
            "Left out: {names}, which are computed from the configuration.",
            names=", ".join(dropped[:3]),
        )
    if to_ckpt:
        if "bfloat16" in dtypes:
            yield _(
                "The file holds bfloat16, which MindSpore 2.0 cannot load; if you need it there: "
                "--dtype float16 or --dtype float32."
            )
        yield _(
            "A .ckpt holds weights only. For an export, put config.json and tokenizer.model beside "
            "it, or name model.preset and model.tokenizer in the recipe."
        )
    elif checkpoint.raw_config is None:
        yield _(
            "The source has no config.json, so the folder has none: put the one of the model there."
        )
