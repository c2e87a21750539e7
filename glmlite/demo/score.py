"""Does the demo model know its corpus? Judged with the NumPy reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glmlite.checkpoint import WeightSource
from glmlite.demo.data import NOT_LEARNED, row
from glmlite.demo.dialogues import Dialogue
from glmlite.model.config import ModelConfig
from glmlite.model.reference import forward
from glmlite.text import Tokenizer

_ROWS = 32


@dataclasses.dataclass(frozen=True)
class Score:
    """What `score` found.

    Attributes:
        answers: how many answers were asked for: each turn of each wording of each dialogue.
        wrong: the questions answered wrongly.
        margins: float32, at each id of each answer the right logit less the largest other one.
    """

    answers: int
    wrong: tuple[str, ...]
    margins: NDArray[np.float32]

    def __str__(self) -> str:
        lowest, low = np.quantile(self.margins, [0.0, 0.01])
        return (
            f"{self.answers - len(self.wrong)} of {self.answers} answers right; "
            f"smallest margin {lowest:.2f}, 1 % below {low:.2f}"
        )


def score(
    config: ModelConfig,
    source: WeightSource,
    tokenizer: Tokenizer,
    corpus: Sequence[Dialogue],
) -> Score:
    """Ask every wording of every dialogue.

    Given the right ids so far, the right id must have the largest logit at every position of an
    answer, eos at its end: greedy decoding then writes exactly this answer.
    """
    asked = [(questions, dialogue) for dialogue in corpus for questions in dialogue.wordings()]
    answers = 0
    wrong: list[str] = []
    margins: list[NDArray[np.float32]] = []
    for start in range(0, len(asked), _ROWS):
        part = asked[start : start + _ROWS]
        rows = [row(dialogue.ask(questions), tokenizer) for questions, dialogue in part]
        logits = forward(config, source, [ids for ids, _ in rows])
        for (questions, _), (_, labels), row_logits in zip(part, rows, logits, strict=True):
            found = margins_of(row_logits, np.array(labels))
            ends = [i + 1 for i, label in enumerate(labels) if label == tokenizer.eos_id]
            for question, begin, end in zip(questions, [0, *ends], ends, strict=False):
                answers += 1
                margins.append(found[begin:end][np.array(labels[begin:end]) != NOT_LEARNED])
                if margins[-1].min() <= 0:
                    wrong.append(question)
    return Score(answers, tuple(wrong), np.concatenate(margins))


def margins_of(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """The right logit less the largest other one, [n]; meaningless where nothing is learned.

    Args:
        logits: float32 [n, V].
        labels: [n]; `NOT_LEARNED` is negative.
    """
    rows = np.arange(len(labels))
    right = logits[rows, labels]
    others = logits.copy()
    others[rows, labels] = -np.inf
    result: NDArray[np.float32] = right - others.max(axis=1)
    return result
