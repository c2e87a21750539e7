"""Which versions read which MindIR (measured: see docs/lite-and-ascend.md)."""

from __future__ import annotations

import re


def version_key(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparison: "2.10.0rc1" gives (2, 10, 0)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def reads_mindir(engine: str, version: str, producer: str, dtype: str) -> bool:
    """Whether an engine of some version runs what MindSpore `producer` exported.

    A MindIR opens in nothing older than what made it. Of an older MindSpore's float16 graphs a
    newer MindSpore cannot compile the casts; Lite can.

    Args:
        engine: "mindspore" or "lite".
        version: the engine's.
        producer: version of the MindSpore that exported.
        dtype: "float32" or "float16".
    """
    written, read = version_key(producer)[:2], version_key(version)[:2]
    if engine == "mindspore" and dtype == "float16":
        return written == read
    return written <= read
