"""Which share of the machine's read bandwidth decoding reaches, measured in turn.

    python benchmarks/read_share.py BUNDLE [--threads 2] [--rounds 8]

On a machine with neighbours, bandwidth moves within minutes, so a token's time here is not held
against a bandwidth from another minute: each round reads 1 GiB over and over (the fastest pass
counts), then decodes with 64 tokens in the cache. Shown is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from glmlite.bench.bandwidth import measure_bandwidth
from glmlite.bench.run import decode_bytes
from glmlite.bundle import Bundle
from glmlite.bundle.contents import read_index
from glmlite.cli import huge_pages
from glmlite.runtime.engines import EngineOptions, open_engine
from glmlite.runtime.host import inspect_host
from glmlite.runtime.session import Session

CONTEXT, STEPS = 64, 12


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=8)
    arguments = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked by the restart
    huge_pages.is_program = True
    huge_pages.restart_with_huge_pages()
    bundle = Bundle.open(arguments.bundle)
    nbytes = decode_bytes(read_index(bundle.path / bundle.manifest.weights.index))
    engine = open_engine(bundle, "auto", EngineOptions(threads=arguments.threads)).engine
    session = Session(engine)
    session.feed(np.random.default_rng(0).integers(3, engine.spec.vocab_size, CONTEXT))
    session.feed([5])
    host = inspect_host()
    print(f"{arguments.bundle.name} on {host.cpu}, {arguments.threads} threads")
    shares = []
    for _ in range(arguments.rounds):
        before = measure_bandwidth(arguments.threads).bytes_per_second
        seconds = []
        for _ in range(STEPS):
            session.truncate(CONTEXT)
            started = time.perf_counter()
            session.feed([5])
            seconds.append(time.perf_counter() - started)
        after = measure_bandwidth(arguments.threads).bytes_per_second
        read, ceiling = nbytes / statistics.median(seconds), max(before, after)
        shares.append(read / ceiling)
        print(f"  {read / 1e9:5.1f} of {ceiling / 1e9:5.1f} GB/s: {shares[-1]:.0%}", flush=True)
    print(f"  median {statistics.median(shares):.1%} ({min(shares):.0%} to {max(shares):.0%})")
    engine.close()


if __name__ == "__main__":
    main()
