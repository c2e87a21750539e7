"""Measures chatglm.cpp on one GGML file, in a process of its own; see `figures.parse`.

chatglm.cpp has no setting for threads: it takes as many as there are cores that it may run on, up
to four, so the affinity is set. It feeds a prompt in one go, and greedy ids are all that it gives.
"""

from __future__ import annotations

import importlib.metadata
import os
import time

import chatglm_cpp
import figures
from chatglm_cpp import _C


def main() -> None:
    """Load, measure, print."""
    arguments = figures.parse()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    started = time.perf_counter()
    pipeline = chatglm_cpp.Pipeline(str(arguments.model), max_length=arguments.cache)
    loaded = time.perf_counter() - started
    model = pipeline.model
    greedy = _C.GenerationConfig(max_length=arguments.cache, do_sample=False)
    ids: list[int] = []

    def prefill(new: list[int]) -> int:
        ids[:] = new
        return int(model.generate_next_token(ids, None, greedy, 0, len(ids)))

    def step(token: int) -> int:
        ids.append(token)
        return int(model.generate_next_token(ids, None, greedy, len(ids) - 1, len(ids)))

    result = figures.measure(arguments, model.config.vocab_size, prefill, step)
    figures.report(
        engine="chatglm.cpp",
        version=importlib.metadata.version("chatglm-cpp"),
        load_seconds=loaded,
        **result,
    )


if __name__ == "__main__":
    main()
