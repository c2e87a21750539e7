"""What lies in the folders of a distributed training: one checkpoint per rank, strategy files."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path

from glmlite.errors import CheckpointError
from glmlite.i18n import _

_SUFFIXES = (".ckpt", ".safetensors")
_STRATEGY_SUFFIXES = (".ckpt", ".json")
# What MindFormers' transform_ckpt.py leaves among the strategy files.
_MERGED = re.compile(r"merged_ckpt_strategy.*")


@dataclasses.dataclass(frozen=True)
class Shards:
    """The checkpoint of each rank, ranks from 0 without gaps, and what a user should know."""

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        return sum(path.stat().st_size for path in self.files)


def find_shards(folder: Path) -> Shards:
    """The newest checkpoint of every `rank_N` folder.

    MindSpore's own code takes the last by name, which puts step 9 after step 10; here numbers count
    as numbers, and a choice is told in `notes`.

    Raises:
        CheckpointError: no shards, ranks missing, or ranks whose newest checkpoints are of
            different steps; names them.
    """
    if not folder.is_dir():
        raise CheckpointError("There is no folder {path}.", path=str(folder))
    ranks = {
        int(path.name[5:]): path
        for path in folder.iterdir()
        if re.fullmatch(r"rank_\d{1,6}", path.name) and path.is_dir()
    }
    if not ranks:
        raise CheckpointError(
            "{folder} has no rank_0, rank_1, …: these are no shards.",
            hint="Give the folder above them, such as output/checkpoint.",
            folder=folder.name,
        )
    missing = list(itertools.islice((r for r in range(max(ranks)) if r not in ranks), 8))
    if missing:
        raise CheckpointError(
            "{folder} goes up to rank_{last}, but {missing} is not there.",
            hint="Copy the shards of every server into one folder first.",
            folder=folder.name,
            last=max(ranks),
            missing=", ".join(f"rank_{rank}" for rank in missing),
        )
    notes, chosen = [], []
    for path in (ranks[rank] for rank in sorted(ranks)):
        found = sorted(
            (p for p in path.iterdir() if p.suffix in _SUFFIXES and p.is_file()), key=_by_numbers
        )
        if not found:
            raise CheckpointError(
                "{folder} holds no checkpoint (*.ckpt or *.safetensors).",
                hint="Copy the shards of every server into one folder first.",
                folder=f"{folder.name}/{path.name}",
            )
        chosen.append(found[-1])
        if len(found) > 1:
            notes.append(
                _(
                    "{folder} holds {count} checkpoints; {chosen} is used.",
                    folder=path.name,
                    count=len(found),
                    chosen=found[-1].name,
                )
            )
    _check_same_step(chosen)
    return Shards(tuple(chosen), tuple(notes))


def find_strategy(path: Path) -> tuple[Path, ...]:
    """The strategy files that a path names: one file, or all of a folder.

    Raises:
        CheckpointError: there are none, one is empty, or they are of two formats.
    """
    if path.is_dir():
        found = sorted(
            p
            for p in path.iterdir()
            if p.suffix in _STRATEGY_SUFFIXES and p.is_file() and not _MERGED.fullmatch(p.name)
        )
    else:
        found = [path] if path.is_file() else []
    if not found:
        raise CheckpointError(
            "There is no strategy file at {path}.",
            hint="Give the file or the folder that the training wrote (output/strategy).",
            path=str(path),
        )
    empty = [p.name for p in found if p.stat().st_size == 0]
    if empty:
        raise CheckpointError("The strategy file {file} is empty.", file=empty[0])
    if len({p.suffix for p in found}) > 1:
        raise CheckpointError(
            "{folder} holds strategy files of two formats, .ckpt and .json.",
            hint="Keep those of one training only.",
            folder=path.name,
        )
    return tuple(found)


def _by_numbers(path: Path) -> tuple[list[tuple[int, int | str]], str]:
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(p)) if p.isdigit() else (1, p) for p in parts], path.name


def _check_same_step(chosen: list[Path]) -> None:
    """MindFormers' `name_rank_3-2_100.ckpt` must be of the same epoch and step in every rank."""
    steps: dict[str, Path] = {}
    for path in chosen:
        match = re.search(r"_rank_\d+-(\d+_\d+)$", path.stem)
        steps.setdefault(match[1] if match else "", path)
    if len(steps) > 1:
        first, second = list(steps.values())[:2]
        raise CheckpointError(
            "The newest checkpoints are of different steps: {first} and {second}.",
            hint="Remove what only some of the ranks saved; a model mixed from two steps is of no "
            "use.",
            first=f"{first.parent.name}/{first.name}",
            second=f"{second.parent.name}/{second.name}",
        )
