"""On real graphs, quantized or not, drafts by themselves ("auto") never change an answer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from glmlite.bench.random_bundle import RandomModel, make_random_bundle
from glmlite.bundle import Bundle
from glmlite.progress import NoProgress
from glmlite.runtime.engines import EngineOptions, open_engine
from glmlite.runtime.engines.base import Engine
from glmlite.runtime.generation import generate
from glmlite.runtime.sampling import Sampler, SamplingParams
from glmlite.runtime.session import Session
from glmlite.runtime.speculation import DraftPolicy

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

RECIPES = ("none", "cpu_int8", "cpu_w8a8", "cpu_int4", "cpu_int4_w8a8")


@dataclasses.dataclass
class Eager(DraftPolicy):
    """Rows cost next to nothing and drafts hold, whatever is noted: they are tried on and on."""

    step_seconds: float = 1.0
    row_seconds: float | None = 0.001

    def note_time(self, rows: int, seconds: float) -> None:
        """Take no note."""

    def note_draft(self, size: int, drafted: int, held: int) -> None:
        """Take no note."""

    def length(self, size: int, most: int) -> int:
        """The shortest length is proven soonest."""
        return min(super().length(size, most), 1)


def answer(
    engine: Engine, prompt: list[int], policy: DraftPolicy | None, **options: float
) -> tuple[list[int], int]:
    """60 tokens in a session of their own, and how many of them a draft gave."""
    sampler = Sampler(SamplingParams(**options), engine.spec.vocab_size)
    speculate = "off" if policy is None else "auto"
    pieces = list(
        generate(
            Session(engine),
            prompt,
            sampler=sampler,
            max_new_tokens=60,
            speculate=speculate,
            policy=policy,
        )
    )
    assert pieces[-1].stats is not None
    return [piece.token for piece in pieces], pieces[-1].stats.held_tokens


@pytest.mark.parametrize("recipe", RECIPES)
def test_answers_stay_the_same(recipe: str, tmp_path: Path) -> None:
    path = make_random_bundle(
        RandomModel("tiny", recipe, cache_length=192), tmp_path / "bundle", NoProgress()
    )
    engine = open_engine(Bundle.open(path), "onnx", EngineOptions(threads=1)).engine
    assert (engine.spec.score_tolerance == 0) == (recipe != "none")
    generator, policy, held = np.random.default_rng(1), Eager(), 0
    for number in range(8):
        prompt = generator.integers(3, 2048, 40).tolist() * 2
        options = {} if number % 2 else {"temperature": 0.2, "seed": number}
        tokens, count = answer(engine, prompt, policy, **options)
        assert tokens == answer(engine, prompt, None, **options)[0]
        held += count
    engine.close()
    assert policy.equal_rows, "nothing was drafted"
    if policy.is_exact:  # that depends on this processor's kernels
        assert held
