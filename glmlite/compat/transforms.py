"""`transform_checkpoints`, which MindFormers' page calls to merge the shards of a training."""

from __future__ import annotations

import os
from pathlib import Path

from glmlite.checkpoint.distributed import merge_checkpoint


def transform_checkpoints(
    src_checkpoints_dir: str | os.PathLike[str],
    dst_checkpoints_dir: str | os.PathLike[str],
    ckpt_prefix: str,
    src_strategy_file: str | os.PathLike[str] | None = None,
    dst_strategy_file: str | os.PathLike[str] | None = None,
    *,
    toolchain: str | os.PathLike[str] | None = None,
) -> None:
    """Merge shards as `mindspore.transform_checkpoints` does, in any interpreter.

    Args:
        src_checkpoints_dir: holds rank_0, rank_1, ….
        dst_checkpoints_dir: for the result, which appears whole or not at all.
        ckpt_prefix: what the names of the written files begin with.
        src_strategy_file: how the shards are sliced: a file, or a folder of one for each stage.
        dst_strategy_file: how the result is to be sliced; None: one checkpoint.
        toolchain: interpreter that has MindSpore; None: `GLMLITE_TOOLCHAIN`, else this one.

    Raises:
        CheckpointError: the shards do not fit together, or the destination is taken.
    """
    merge_checkpoint(
        Path(src_checkpoints_dir),
        Path(dst_checkpoints_dir),
        prefix=ckpt_prefix,
        strategy=None if src_strategy_file is None else Path(src_strategy_file),
        destination_strategy=None if dst_strategy_file is None else Path(dst_strategy_file),
        toolchain=toolchain,
    )
