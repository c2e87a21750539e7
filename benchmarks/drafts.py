"""What verifying drafts costs on a bundle, whether it is exact, and what drafts bring.

    python benchmarks/drafts.py BUNDLE [--threads 2] [--new-tokens 128]

A step of several rows is timed against a plain one, with 64 tokens in the cache, and its logits are
compared with those of plain steps. Then a prompt of random ids that comes twice is answered
greedily, without drafts and with them: random weights soon repeat themselves, so this is near the
best case; what drafts bring to a trained model depends on how much its answers repeat.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from glmlite.bundle import Bundle
from glmlite.cli import huge_pages
from glmlite.runtime.engines import EngineOptions, open_engine
from glmlite.runtime.engines.base import Engine
from glmlite.runtime.generation import generate
from glmlite.runtime.host import inspect_host
from glmlite.runtime.sampling import Sampler, SamplingParams
from glmlite.runtime.session import Session
from glmlite.runtime.speculation import DraftPolicy, Speculate

ROWS = (2, 4, 8, 16)
CONTEXT, PROMPT, REPEATS = 64, 64, 9


def seconds_of(run: Callable[[], object]) -> float:
    """Median of several runs, after one to warm up."""
    found = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return statistics.median(found[1:])


def measure_rows(engine: Engine, ids: np.ndarray) -> None:
    """Print a line for each number of rows."""
    session = Session(engine)
    session.feed(ids[:CONTEXT])
    new = ids[CONTEXT : CONTEXT + max(ROWS)]

    def at_context(run: Callable[[], object]) -> Callable[[], object]:
        def again() -> object:
            session.truncate(CONTEXT)
            return run()

        return again

    plain = seconds_of(at_context(lambda: session.feed(new[:1])))
    print(f"  1 row    {plain * 1e3:8.1f} ms")
    session.truncate(CONTEXT)
    alone = np.stack([session.feed(new[i : i + 1]) for i in range(max(ROWS))])
    for rows in ROWS:
        seconds = seconds_of(at_context(lambda rows=rows: session.score(new[:rows])))
        session.truncate(CONTEXT)
        error = np.abs(session.score(new[:rows]) - alone[:rows]).max() / np.abs(alone).max()
        print(f"  {rows:2} rows  {seconds * 1e3:8.1f} ms {seconds / plain:6.2f}×  ", end="")
        print("equal, bit by bit" if error == 0 else f"off by {error:.1e} of the largest logit")


def measure_answers(engine: Engine, ids: np.ndarray, count: int) -> None:
    """Print tokens a second with and without drafts."""
    prompt = [*ids[:PROMPT].tolist()] * 2
    expected = None
    modes: list[Speculate] = ["off", "auto", "auto"]
    policy = DraftPolicy()
    for number, mode in enumerate(modes):
        sampler = Sampler(SamplingParams(), engine.spec.vocab_size)
        pieces = list(
            generate(
                Session(engine),
                prompt,
                sampler=sampler,
                max_new_tokens=count,
                speculate=mode,
                policy=policy,
            )
        )
        tokens, stats = [piece.token for piece in pieces], pieces[-1].stats
        if stats is None:
            raise SystemExit("the answer did not end")
        expected = expected or tokens
        learned = ", having learned" if number == 2 else ""
        print(
            f"  {mode}{learned}: {(count - 1) / stats.decode_seconds:.2f} tokens/s, "
            f"{stats.held_tokens} of {stats.drafted_tokens} drafted tokens held, "
            f"{'the same answer' if tokens == expected else 'ANOTHER ANSWER'}"
        )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--new-tokens", type=int, default=128)
    arguments = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked by the restart
    huge_pages.is_program = True
    huge_pages.restart_with_huge_pages()
    host = inspect_host()
    print(f"{arguments.bundle.name} on {host.cpu} ({' '.join(host.cpu_features)})")
    options = EngineOptions(threads=arguments.threads)
    engine = open_engine(Bundle.open(arguments.bundle), "auto", options).engine
    ids = np.random.default_rng(0).integers(3, engine.spec.vocab_size, 128, dtype=np.int32)
    measure_rows(engine, ids)
    measure_answers(engine, ids, arguments.new_tokens)
    engine.close()


if __name__ == "__main__":
    main()
