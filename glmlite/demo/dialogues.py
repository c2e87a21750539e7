"""The bilingual corpus: dialogues, their turns, and every wording of their questions."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "corpus"
LANGUAGES = ("en", "zh")


@dataclasses.dataclass(frozen=True)
class Turn:
    """One question in all its wordings (the first is the canonical one) and its answer."""

    ask: tuple[str, ...]
    answer: str

    @property
    def question(self) -> str:
        """The canonical wording."""
        return self.ask[0]


@dataclasses.dataclass(frozen=True)
class Dialogue:
    """Turns that follow each other; a later turn may make sense after the earlier ones only.

    Attributes:
        language: "en" or "zh".
        turns: one or more.
        unfamiliar: whether its answer is right for words that mean nothing, too.
    """

    language: str
    turns: tuple[Turn, ...]
    unfamiliar: bool = False

    def wordings(self) -> Iterator[tuple[str, ...]]:
        """Every wording of every turn at least once, each as one list of questions."""
        most = max(len(turn.ask) for turn in self.turns)
        for i in range(most):
            yield tuple(turn.ask[i % len(turn.ask)] for turn in self.turns)

    def ask(self, questions: tuple[str, ...]) -> list[tuple[str, str]]:
        """Question and answer of each turn, asked with `questions`."""
        return [(q, turn.answer) for q, turn in zip(questions, self.turns, strict=True)]


def _expand(raw: dict[str, Any], language: str) -> Iterator[Dialogue]:
    for name in raw.get("names", [None]):
        turns = tuple(
            Turn(
                tuple(a.replace("{name}", str(name)) for a in turn["ask"]),
                turn["answer"].replace("{name}", str(name)),
            )
            for turn in raw["turns"]
        )
        yield Dialogue(language, turns, raw.get("unfamiliar", False))


@functools.lru_cache(maxsize=1)
def load_corpus() -> tuple[Dialogue, ...]:
    """All dialogues, English first."""
    import yaml

    dialogues: list[Dialogue] = []
    for language in LANGUAGES:
        raw = yaml.safe_load((CORPUS / f"{language}.yaml").read_text(encoding="utf-8"))
        dialogues += itertools.chain.from_iterable(
            _expand(entry, language) for entry in raw["dialogues"]
        )
    return tuple(dialogues)
