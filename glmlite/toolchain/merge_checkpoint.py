"""Merging the shards of a distributed checkpoint, which only MindSpore's own code knows to do."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from .errors import ToolchainError, first_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MERGED_STRATEGY = "merged_strategy"


def merge_checkpoint(
    source: str,
    destination: str,
    prefix: str,
    source_strategy: str | None,
    destination_strategy: str | None,
    scratch: str,
    report: Callable[[int], None],
) -> None:
    """Transform a checkpoint from one way of slicing to another.

    Args:
        source: folder of rank_0, rank_1, …, one checkpoint in each.
        destination: folder that gets rank_0/<prefix>0.ckpt, ….
        prefix: what the names of the written files begin with.
        source_strategy: strategy file, or a folder of one for each pipeline stage; None: whole.
        destination_strategy: the same for the result; None: one whole checkpoint.
        scratch: folder for merged strategy files.
        report: told the bytes of every file read or written.

    Raises:
        ToolchainError: MindSpore is missing, or refuses the strategy or the shards.
    """
    try:
        import mindspore
    except ImportError as error:
        raise ToolchainError(
            "MindSpore cannot be loaded: {error}",
            hint="Name an interpreter that has it: --toolchain PYTHON",
            error=str(error)[:500],
        ) from error
    try:
        strategies = [
            _one_file(mindspore, strategy, os.path.join(scratch, "%s_%d" % (MERGED_STRATEGY, i)))
            for i, strategy in enumerate((source_strategy, destination_strategy))
        ]
    except Exception as error:
        raise ToolchainError(
            "MindSpore cannot read the strategy: {error}",
            hint="Give the file or the folder that the training wrote (output/strategy).",
            error=first_words(error),
        ) from error
    try:
        with _reporting(mindspore, report):
            mindspore.transform_checkpoints(source, destination, prefix, *strategies)
    except MemoryError:
        raise
    except Exception as error:
        raise ToolchainError(
            "MindSpore cannot merge these shards: {error}",
            hint="Strategy and shards must come from the same training: the strategy tells how "
            "many ranks there are and how each tensor is sliced.",
            error=first_words(error),
        ) from error


def _one_file(mindspore: Any, strategy: str | None, merged: str) -> str | None:
    """A strategy file; those of several pipeline stages become one."""
    if strategy is None or os.path.isfile(strategy):
        return strategy
    merged += os.path.splitext(sorted(os.listdir(strategy))[0])[1]
    mindspore.merge_pipeline_strategys(strategy, merged)
    return merged


@contextlib.contextmanager
def _reporting(mindspore: Any, report: Callable[[int], None]) -> Iterator[None]:
    """Tell of every checkpoint file that MindSpore reads or writes meanwhile."""
    load, save = mindspore.load_checkpoint, mindspore.save_checkpoint

    def loading(path: str, *args: Any, **kwargs: Any) -> Any:
        loaded = load(path, *args, **kwargs)
        report(os.path.getsize(path))
        return loaded

    def saving(tensors: Any, path: str, *args: Any, **kwargs: Any) -> Any:
        saved = save(tensors, path, *args, **kwargs)
        report(os.path.getsize(path))
        return saved

    mindspore.load_checkpoint, mindspore.save_checkpoint = loading, saving
    try:
        yield
    finally:
        mindspore.load_checkpoint, mindspore.save_checkpoint = load, save
