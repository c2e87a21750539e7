"""A stable identity of a checkpoint that is cheap even for twelve gigabytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from glmlite.checkpoint.safetensors_file import SafetensorsFile

WINDOW_BYTES = 4096
WINDOWS = 16


def fingerprint_tensors(shards: Mapping[str, SafetensorsFile]) -> str:
    """SHA-256 over names, dtypes, shapes and sampled bytes of all tensors.

    Of every tensor, in the order of names: the JSON line `[name, dtype, [sizes]]`, then its raw
    bytes: all of them up to 64 KiB, else sixteen windows of 4 KiB, evenly spread from the first
    byte to the last. Metadata, order and sharding of the files do not matter. Fine-tuning touches
    every tensor's samples, so it changes the result; a single flipped bit may not. It tells
    checkpoints apart; it is no proof of integrity.

    Args:
        shards: tensor name to the open file that holds it.

    Returns:
        The digest as 64 hexadecimal digits. Reads at most 64 KiB a tensor (13 MB of a 6B model).
    """
    digest = hashlib.sha256()
    for name in sorted(shards):
        entry = shards[name].entries[name]
        line = json.dumps([name, entry.dtype, list(entry.shape)], ensure_ascii=True)
        digest.update(line.encode() + b"\n")
        for sample in shards[name].samples(name, WINDOW_BYTES, WINDOWS):
            digest.update(sample)
    return digest.hexdigest()
