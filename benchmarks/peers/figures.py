"""What both runners measure, and how; standard library only, for the peers' own interpreter."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def parse() -> argparse.Namespace:
    """Arguments of a runner."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--contexts", type=int, nargs="*", default=[64])
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--cache", type=int, default=2304)
    parser.add_argument("--ids", help="a JSON list: only continue it greedily by --new-tokens")
    parser.add_argument("--no-extra-buffers", action="store_true", help="llama.cpp: no repacking")
    return parser.parse_args()


def peak_memory() -> dict[str, int]:
    """Bytes: the largest resident size so far, and what of the current one is anonymous."""
    sizes = {}
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key in ("VmHWM", "RssAnon", "RssFile", "Threads"):
            sizes[key] = int(value.split()[0])
    return {
        "peak_bytes": sizes["VmHWM"] * 1024,
        "anonymous_bytes": sizes["RssAnon"] * 1024,
        "mapped_bytes": sizes["RssFile"] * 1024,
        "threads": sizes["Threads"],
    }


def spread(seconds: list[float]) -> dict[str, float]:
    """Median, least and most of some times."""
    return {
        "median": statistics.median(seconds),
        "least": min(seconds),
        "most": max(seconds),
    }


def measure(
    arguments: argparse.Namespace,
    vocabulary: int,
    prefill: Callable[[list[int]], int],
    step: Callable[[int], int],
) -> dict[str, Any]:
    """Prefill and decode of one peer.

    Args:
        arguments: of the runner.
        vocabulary: ids lie below it.
        prefill: empties the cache, feeds ids, gives the likeliest next one.
        step: feeds one more id, gives the likeliest next one.
    """
    ids = [3 + (i * 7919) % (vocabulary - 3) for i in range(max(arguments.prompt_tokens, 4096))]
    if arguments.ids:
        given = json.loads(arguments.ids)
        token, found = prefill(given), []
        for _ in range(arguments.new_tokens):
            found.append(token)
            token = step(token)
        return {"ids": found}
    prefill(ids[:8])  # touches every weight and starts the threads
    fed = []
    for _ in range(arguments.repeats):
        started = time.perf_counter()
        prefill(ids[: arguments.prompt_tokens])
        fed.append(time.perf_counter() - started)
    decode = {}
    for context in arguments.contexts:
        token, seconds = prefill(ids[:context]), []
        for _ in range(arguments.new_tokens + 1):
            started = time.perf_counter()
            token = step(token)
            seconds.append(time.perf_counter() - started)
        decode[str(context)] = spread(seconds[1:])
    return {
        "prefill_seconds": spread(fed),
        "prefill_tokens_per_second": arguments.prompt_tokens / statistics.median(fed),
        "decode_seconds": decode,
        "decode_tokens_per_second": {c: 1 / s["median"] for c, s in decode.items()},
        **peak_memory(),
    }


def report(**figures: Any) -> None:
    """Print the runner's result; the last line of its output."""
    sys.stdout.flush()
    print(json.dumps(figures), flush=True)
