"""Measures llama.cpp on one GGUF file, in a process of its own; see `figures.parse`.

Library defaults but for threads, cache and batch size (512, so that a prompt of 512 goes in at
once); with --no-extra-buffers weights are not repacked into the layouts of its fast kernels.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import time
from pathlib import Path

import figures
import llama_cpp as ll
import numpy as np

BATCH = 512


def main() -> None:
    """Load, measure, print."""
    arguments = figures.parse()
    quiet = ll.llama_log_callback(lambda level, text, data: None)
    ll.llama_log_set(quiet, ctypes.c_void_p(0))
    ll.llama_backend_init()
    started = time.perf_counter()
    options = ll.llama_model_default_params()
    options.n_gpu_layers = 0
    options.use_extra_bufts = not arguments.no_extra_buffers
    model = ll.llama_model_load_from_file(str(arguments.model).encode(), options)
    settings = ll.llama_context_default_params()
    settings.n_ctx = arguments.cache
    settings.n_batch = settings.n_ubatch = BATCH
    settings.n_threads = settings.n_threads_batch = arguments.threads
    context = ll.llama_init_from_model(model, settings) if model else None
    if not context:
        raise SystemExit(f"llama.cpp cannot load {arguments.model}")
    loaded = time.perf_counter() - started
    vocabulary = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))

    def feed(ids: list[int]) -> None:
        for start in range(0, len(ids), BATCH):
            part = ids[start : start + BATCH]
            tokens = (ll.llama_token * len(part))(*part)
            if ll.llama_decode(context, ll.llama_batch_get_one(tokens, len(part))):
                raise SystemExit("llama_decode failed")

    def best() -> int:
        return int(np.argmax(logits()))

    def logits() -> np.ndarray:
        return np.ctypeslib.as_array(ll.llama_get_logits_ith(context, -1), (vocabulary,))

    def prefill(ids: list[int]) -> int:
        ll.llama_memory_clear(ll.llama_get_memory(context), True)
        feed(ids)
        return best()

    def step(token: int) -> int:
        feed([token])
        return best()

    result = figures.measure(arguments, vocabulary, prefill, step)
    if arguments.ids:
        prefill(json.loads(arguments.ids))
        np.save(Path(arguments.model).with_suffix(".logits.npy"), logits())
    figures.report(
        engine="llama.cpp",
        version=importlib.metadata.version("llama-cpp-python"),
        system=ll.llama_print_system_info().decode(),
        repacking=bool(options.use_extra_bufts),
        load_seconds=loaded,
        **result,
    )


if __name__ == "__main__":
    main()
