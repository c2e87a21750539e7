"""A stable identity of a checkpoint that is cheap even for twelve gigabytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from glmlite.checkpoint.tensor_file import TensorFile

WINDOW_BYTES = 4096
WINDOWS = 16


def fingerprint_tensors(places: Mapping[str, tuple[TensorFile, str]]) -> str:
    """SHA-256 over names, dtypes, shapes and sampled bytes of all tensors.

    Of every tensor, in the order of names: the JSON line `[name, dtype, [sizes]]`, then its raw
    bytes: all of them up to 64 KiB, else sixteen windows of 4 KiB, evenly spread from the first
    byte to the last. Format, metadata, order and sharding of the files do not matter. Fine-tuning
    touches every tensor's samples, so it changes the result; a single flipped bit may not. It tells
    checkpoints apart; it is no proof of integrity.

    Args:
        places: Hugging Face name to the open file that holds the tensor and its name there.

    Returns:
        The digest as 64 hexadecimal digits. Reads at most 64 KiB a tensor (13 MB of a 6B model).
    """
    digest = hashlib.sha256()
    for name in sorted(places):
        file, stored_name = places[name]
        entry = file.entries[stored_name]
        line = json.dumps([name, entry.dtype, list(entry.shape)], ensure_ascii=True)
        digest.update(line.encode() + b"\n")
        for sample in file.samples(stored_name, WINDOW_BYTES, WINDOWS):
            digest.update(sample)
    return digest.hexdigest()
