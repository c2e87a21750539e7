"""Models to test engines on, each with prompts, greedy ids and logits that glmlite did not make."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.fixtures.expected import expected
from tests.fixtures.models import MODELS
from tests.fixtures.writing import write_checkpoint

GOLDEN = "golden"
# For graphs of every format; prefix_wide is for ONNX Runtime's fused attention alone.
NAMES = (GOLDEN, *(name for name in MODELS if name != "prefix_wide"))


@dataclasses.dataclass(frozen=True)
class Case:
    """One prompt.

    Attributes:
        greedy_ids: the continuation; its first id follows the whole prompt.
        logits: [n, V]; row i belongs to the i-th id of prompt + greedy_ids.
    """

    name: str
    prompt: list[int]
    greedy_ids: list[int]
    logits: NDArray[np.floating[Any]]

    @property
    def ids(self) -> list[int]:
        """Prompt and continuation, as far as there are logits for them."""
        return (self.prompt + self.greedy_ids)[: len(self.logits)]


@dataclasses.dataclass(frozen=True)
class Subject:
    """A checkpoint on disk and what is known about it."""

    name: str
    family: str
    checkpoint: Path
    adapter: Path | None
    cache_length: int
    cases: tuple[Case, ...]


def make_golden(golden_dir: Path) -> Subject:
    """The official code's tiny model."""
    folder = golden_dir / "glm2_tiny"
    stored = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    cases = []
    with np.load(folder / stored["arrays"], allow_pickle=False) as arrays:
        for case in stored["cases"]:
            prefill, greedy = arrays[case["prefill_logits"]], arrays[case["greedy_logits"]]
            logits = np.concatenate([prefill[:-1], greedy])
            cases.append(Case(case["name"], case["input_ids"], case["greedy_ids"], logits))
    return Subject(GOLDEN, "glm2", folder, None, 112, tuple(cases))


def make_fixture(name: str, folder: Path) -> Subject:
    """One of our own tiny models; its numbers come from the float64 oracle."""
    model = MODELS[name]
    checkpoint = write_checkpoint(model, folder / name)
    cases = []
    for prompt in model.prompts:
        found = expected(name, prompt)
        cases.append(Case(prompt, found.prompt, found.greedy_ids, found.logits))
    adapter = checkpoint / "adapter" if model.prefix_length else None
    return Subject(name, model.family, checkpoint, adapter, 96, tuple(cases))
