"""Distributed checkpoints: shards in, one checkpoint (or other shards) out, whole or not at all."""

from __future__ import annotations

import dataclasses
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glmlite.checkpoint.shards import find_shards, find_strategy
from glmlite.errors import CheckpointError, EngineError, WorkerDiedError
from glmlite.i18n import _
from glmlite.progress import NoProgress, Progress
from glmlite.runtime.engines.interpreter import find_toolchain
from glmlite.runtime.engines.process import WorkerProcess
from glmlite.staging import move_into_place, staging_folder


@dataclasses.dataclass(frozen=True)
class MergeReport:
    """What a merge made.

    Attributes:
        path: the folder. files: what it holds, relative to it.
        ranks: shards that were read. nbytes: written. seconds: taken.
        notes: what a user should know, one sentence each.
    """

    path: Path
    files: tuple[str, ...]
    ranks: int
    nbytes: int
    seconds: float
    notes: tuple[str, ...]


def merge_checkpoint(
    source: Path,
    destination: Path,
    *,
    prefix: str = "checkpoint_",
    strategy: Path | None = None,
    destination_strategy: Path | None = None,
    toolchain: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> MergeReport:
    """Merge shards with `mindspore.transform_checkpoints`, in a process of its own.

    Args:
        source: folder of rank_0, rank_1, ….
        destination: folder that gets rank_0/<prefix>0.ckpt.
        prefix: of the written files.
        strategy: how the shards are sliced: a strategy file, or the folder of them; None only for a
            single, whole checkpoint.
        destination_strategy: how the result is to be sliced; None: not at all.
        toolchain: interpreter that has MindSpore.
        overwrite: replace shards that are at `destination`.
        progress: advances by bytes read and written.

    Raises:
        CheckpointError: shards, strategy or destination are not what they must be, or MindSpore
            refuses them; nothing is written then.
        EngineError: the toolchain has no MindSpore, or cannot be started.
    """
    started = time.monotonic()
    progress = progress or NoProgress()
    if not re.fullmatch(r"[^/\0]*", prefix) or prefix in (".", ".."):
        raise CheckpointError("The prefix {prefix} is no file name.", prefix=ascii(prefix))
    shards = find_shards(source.expanduser())
    destination = destination.expanduser().absolute()
    _check_destination(destination, source.expanduser(), overwrite)
    if strategy is None and len(shards.files) > 1:
        raise CheckpointError(
            "{folder} holds {count} ranks, and without a strategy nobody knows how their tensors "
            "are sliced.",
            hint="Name what the training wrote: --strategy output/strategy",
            folder=source.name,
            count=len(shards.files),
        )
    strategies = [find_strategy(s) if s else None for s in (strategy, destination_strategy)]
    interpreter = find_toolchain(toolchain)
    if interpreter.mindspore is None:
        raise EngineError(
            "Merging needs MindSpore, and {python} does not have it.",
            hint="pip install 'glmlite[mindspore]', or name an interpreter that has it: "
            "--toolchain PYTHON",
            python=interpreter.python,
        )
    total = None if destination_strategy else 2 * shards.nbytes
    progress.stage(_("Merging {count} ranks with MindSpore", count=len(shards.files)), total, "B")
    try:
        with staging_folder(destination) as folder:
            result = folder / "result"
            job = _lay_out(folder, shards.files, strategies)
            _run(
                interpreter.python, {**job, "destination": str(result), "prefix": prefix}, progress
            )
            written = sorted(p for p in result.rglob("*") if p.is_file())
            if not written:
                raise CheckpointError("MindSpore wrote nothing.")
            files = tuple(p.relative_to(result).as_posix() for p in written)
            size = sum(p.stat().st_size for p in written)
            move_into_place(result, destination)
    except OSError as error:
        raise CheckpointError(
            "{path} cannot be written: {error}. Nothing was kept.",
            hint="Free some space, or name another destination.",
            path=str(destination),
            error=error.strerror or str(error),
        ) from error
    finally:
        progress.done()
    seconds = time.monotonic() - started
    return MergeReport(destination, files, len(shards.files), size, seconds, shards.notes)


def _check_destination(destination: Path, source: Path, overwrite: bool) -> None:
    """Only nothing, an empty folder or other shards give way, and never the source."""
    here, there = destination.resolve(), source.resolve()
    if here == there or here in there.parents:
        raise CheckpointError(
            "The destination {path} holds the shards that are to be merged.",
            hint="Name another folder: --dst DIR",
            path=str(destination),
        )
    if not destination.exists() and not destination.is_symlink():
        return
    entries = list(destination.iterdir()) if destination.is_dir() else None
    if entries is None or not all(re.fullmatch(r"rank_\d+", p.name) for p in entries):
        raise CheckpointError(
            "{path} exists and holds other things than shards; it is left alone.",
            hint="Name another folder: --dst DIR",
            path=str(destination),
        )
    if entries and not overwrite:
        raise CheckpointError(
            "There are shards at {path} already.",
            hint="Name another folder, or replace them with --force.",
            path=str(destination),
        )


def _lay_out(
    folder: Path, files: Sequence[Path], strategies: Sequence[tuple[Path, ...] | None]
) -> dict[str, str | None]:
    """Folders of links that hold just what was chosen; MindSpore takes all it finds."""
    source = folder / "source"
    for rank, path in enumerate(files):
        target = source / f"rank_{rank}"
        target.mkdir(parents=True)
        (target / path.name).symlink_to(path.resolve())
    job: dict[str, str | None] = {"source": str(source), "scratch": str(folder)}
    names = ("source_strategy", "destination_strategy")
    for name, found in zip(names, strategies, strict=True):
        if found is None:
            job[name] = None
        elif len(found) == 1:
            job[name] = str(found[0].resolve())
        else:
            target = folder / name
            target.mkdir()
            for path in found:
                (target / path.name).symlink_to(path.resolve())
            job[name] = str(target)
    return job


def _run(python: str, job: Mapping[str, Any], progress: Progress) -> None:
    def advance(frame: Mapping[str, Any]) -> None:
        progress.advance(frame["progress"])

    worker = WorkerProcess(python)
    try:
        worker.request(
            {"request": "merge_checkpoint", "job": dict(job)}, on_progress=advance, deferring=False
        )
    except WorkerDiedError:
        raise
    except EngineError as error:
        raise CheckpointError.from_dict(vars(error)) from error
    finally:
        worker.close()
