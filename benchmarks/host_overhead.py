"""What a token costs outside the engine, at the real vocabulary of 65,024 logits.

    python benchmarks/host_overhead.py [--json] [--check]

Two tables: sampling alone, in every combination of methods over four shapes of distribution; and
the whole loop (session, sampling, detokenizer, stop strings) around an engine that does nothing
but hand out logits, its own time left out. Medians of 20; `--check` fails above the targets.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from glmlite.runtime.answer_text import AnswerText
from glmlite.runtime.engines.base import Cache, EngineSpec
from glmlite.runtime.generation import generate
from glmlite.runtime.sampling import Sampler, SamplingParams
from glmlite.runtime.session import Session
from glmlite.text import StreamingDetokenizer, Tokenizer

VOCAB = 65_024
IDS = 64_794
HISTORY = 2_000
REPEATS = 20
LOOP_TARGET = 2e-3
SAMPLING_TARGET = 1e-3
TOKENIZER = Path(__file__).parents[1] / "glmlite" / "demo" / "checkpoint" / "tokenizer.model"


def distributions() -> dict[str, np.ndarray]:
    """Logits of four shapes: as of a trained model, flat, all equal, one far ahead."""
    rng = np.random.default_rng(0)
    trained = rng.normal(0, 2, VOCAB)
    trained[rng.integers(0, IDS, 30)] += rng.uniform(6, 14, 30)
    ahead = rng.normal(0, 1e-3, VOCAB)
    ahead[7] = 5.0
    shapes = {
        "trained": trained,
        "flat": rng.normal(0, 0.01, VOCAB),
        "equal": np.zeros(VOCAB),
        "ahead": ahead,
    }
    return {name: x.astype(np.float32) for name, x in shapes.items()}


def combinations() -> list[dict[str, float]]:
    """Every combination of the methods, switched off and on."""
    choices: dict[str, tuple[float, ...]] = {
        "temperature": (0.0, 0.8),
        "top_k": (0, 50),
        "top_p": (1.0, 0.9),
        "min_p": (0.0, 0.05),
        "repetition_penalty": (1.0, 1.1),
        "presence_penalty": (0.0, 0.5),
    }
    off = {name: values[0] for name, values in choices.items()} | {"temperature": None}
    rows = [dict(zip(choices, v, strict=True)) for v in itertools.product(*choices.values())]
    return [{k: v for k, v in row.items() if v != off[k]} for row in rows]


def time_sampling(logits: np.ndarray, options: dict[str, float]) -> float:
    """Median seconds of one `Sampler.sample`, the history growing by a token each time."""
    history = np.random.default_rng(1).integers(0, IDS, HISTORY + REPEATS + 3).astype(np.int32)
    sampler = Sampler(SamplingParams(**options, seed=0), VOCAB, IDS, banned=[0, 1])
    seconds = []
    for i in range(REPEATS + 3):
        started = time.perf_counter()
        sampler.sample(logits, history[: HISTORY + i], prompt_length=HISTORY // 2)
        seconds.append(time.perf_counter() - started)
    return median(seconds[3:])


class LogitsOnly:
    """No network: what remains of the loop's time is the loop's own."""

    spec = EngineSpec("none", VOCAB, 1, (1, 128), (), 4096)

    def __init__(self, logits: np.ndarray) -> None:
        self.logits = logits

    def new_cache(self) -> Cache:
        """See `Engine`."""
        return Cache()

    def step(self, *_: object) -> np.ndarray:
        """See `Engine`."""
        return self.logits[None].copy()

    def score(self, *_: object) -> np.ndarray:
        """See `Engine`."""
        raise NotImplementedError

    def close(self) -> None:
        """See `Engine`."""


def time_loop(logits: np.ndarray, options: dict[str, float]) -> float:
    """Median over answers of host seconds per token, the engine's step left out."""
    tokenizer = Tokenizer(TOKENIZER, "glm2")
    per_token = []
    for seed in range(REPEATS):
        sampler = Sampler(SamplingParams(**options, seed=seed), VOCAB, IDS)
        output = AnswerText(StreamingDetokenizer(tokenizer), ["\n\n###", "观察："])
        session = Session(LogitsOnly(logits))
        prompt = list(range(300, 300 + 1000))
        *_, last = generate(session, prompt, sampler=sampler, max_new_tokens=32, output=output)
        per_token.append(last.stats.host_seconds / last.stats.new_tokens)
    return median(per_token)


def measure() -> dict[str, object]:
    """All figures, in seconds."""
    shapes = distributions()
    sampling = [
        {"logits": name, "options": options, "seconds": time_sampling(logits, options)}
        for name, logits in shapes.items()
        for options in combinations()
    ]
    full = {"temperature": 0.8, "top_p": 0.9, "repetition_penalty": 1.1, "presence_penalty": 0.5}
    loop = [
        {"logits": name, "options": options, "seconds": time_loop(shapes[name], options)}
        for name in ("trained", "flat")
        for options in ({}, {"temperature": 0.8, "top_p": 0.9}, full)
    ]
    return {"vocabulary": VOCAB, "repeats": REPEATS, "sampling": sampling, "loop": loop}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    parser.add_argument("--check", action="store_true", help="exit 1 above a target")
    arguments = parser.parse_args()
    figures = measure()
    sampling = sorted(figures["sampling"], key=lambda row: -row["seconds"])
    loop = sorted(figures["loop"], key=lambda row: -row["seconds"])
    if arguments.json:
        print(json.dumps(figures, indent=1))
    else:
        print(f"median of {REPEATS}, {VOCAB} logits; options not named are off\n")
        print(f"loop, all but the engine's step (target {LOOP_TARGET * 1e3:.0f} ms a token)")
        show(loop)
        middle = median(row["seconds"] for row in sampling)
        print(f"\nsampling, {len(sampling)} combinations (target {SAMPLING_TARGET * 1e3:.0f} ms)")
        print(f"  {middle * 1e3:6.3f} ms  the middle one; the ten slowest:")
        show(sampling[:10])
    late = loop[0]["seconds"] > LOOP_TARGET or sampling[0]["seconds"] > SAMPLING_TARGET
    return int(arguments.check and late)


def show(rows: list[dict[str, object]]) -> None:
    """One line per measurement."""
    for row in rows:
        options = " ".join(f"{k}={v}" for k, v in row["options"].items()) or "greedy"
        print(f"  {row['seconds'] * 1e3:6.3f} ms  {row['logits']:8}{options}")


if __name__ == "__main__":
    sys.exit(main())
