"""The text that accuracy is measured on, as windows of ids, and which of these are predicted."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from glmlite.errors import ConfigError
from glmlite.regular_file import decode, read_regular

if TYPE_CHECKING:
    from glmlite.bundle import Bundle
    from glmlite.demo import Dialogue
    from glmlite.text import Tokenizer

WINDOW = 256
MAX_TOKENS = 2048
MIN_TOKENS = 16
_MAX_BYTES = 16 << 20
_SEED = 20231027
_DRAWN = 512
# Labels of what is no file of the user's, as manifests keep them; see `wording.text_name`.
DEMO_CORPUS, RANDOM_IDS = "demo corpus", "random ids"


@dataclasses.dataclass(frozen=True)
class Sample:
    """Ids to predict.

    Attributes:
        label: where they come from, for the report: a file's name, DEMO_CORPUS or RANDOM_IDS.
        windows: ids, each from position 0 on.
        given: so many ids of each window are not predicted; 2 for `[gMASK] sop`.
        answers: for each window the places of the ids that are predicted, ascending and behind the
            first; None: all but the given ones.
        is_text: False for random ids, whose perplexity says nothing.
    """

    label: str
    windows: tuple[list[int], ...]
    given: int
    answers: tuple[tuple[int, ...], ...] | None = None
    is_text: bool = True

    @property
    def window(self) -> int:
        """Ids of the longest window."""
        return max(len(window) for window in self.windows)

    def predicted(self) -> list[Sequence[int]]:
        """For each window the places of the ids that are predicted."""
        if self.answers is not None:
            return list(self.answers)
        return [range(self.given, len(window)) for window in self.windows]

    def split(self) -> tuple[Sample, Sample]:
        """Two windows of every four, and the others: to measure on, and to calibrate with.

        What a method was tuned on flatters it, so one text serves both only in this way. A single
        window is given twice.
        """
        numbers = range(len(self.windows))
        pairs = 2 if len(self.windows) >= 4 else 1
        measured = [i for i in numbers if i // pairs % 2 == 0]
        others = [i for i in numbers if i // pairs % 2 == 1]
        return self._take(measured), self._take(others or measured)

    def _take(self, numbers: Sequence[int]) -> Sample:
        return dataclasses.replace(
            self,
            windows=tuple(self.windows[i] for i in numbers),
            answers=self.answers and tuple(self.answers[i] for i in numbers),
        )


def cut(
    label: str, ids: list[int], head: list[int], window: int = WINDOW, tokens: int = MAX_TOKENS
) -> Sample:
    """Windows that together hold the first `tokens` of `ids` once, each behind `head`."""
    ids = ids[:tokens]
    size = max(1, window - len(head))
    windows = tuple(head + ids[start : start + size] for start in range(0, len(ids), size))
    return Sample(label, windows, len(head))


def make_sample(bundle: Bundle, text: Path | None, tokens: int = MAX_TOKENS) -> Sample:
    """`text_sample` with a bundle's tokenizer."""
    from glmlite.text import Tokenizer

    path, manifest = bundle.tokenizer_path, bundle.manifest
    tokenizer = Tokenizer(path, manifest.family) if path else None
    return text_sample(tokenizer, manifest.model.vocab_size, text, tokens)


def text_sample(
    tokenizer: Tokenizer | None,
    vocab_size: int,
    text: Path | None,
    tokens: int = MAX_TOKENS,
    *,
    option: str = "--text",
) -> Sample:
    """The user's text, else the demo's dialogues, else (without a tokenizer) seeded random ids.

    A base model, which was not trained to chat, reads the dialogues as text.

    Args:
        tokenizer: a bundle's or a checkpoint's, or None.
        vocab_size: of the model.
        text: a UTF-8 file, or None.
        tokens: at most so many ids are taken.
        option: that named the text, for messages.

    Raises:
        ConfigError: the text cannot be read or is too short, there is no tokenizer for it, or the
            tokenizer is another model's.
    """
    if tokenizer is None:
        if text is not None:
            raise ConfigError(
                "There is no tokenizer, so a text cannot be read.",
                hint="Leave {option} out: random ids are taken then.",
                option=option,
            )
        drawn = np.random.default_rng(_SEED).integers(0, vocab_size, _DRAWN).tolist()
        sample = cut(RANDOM_IDS, drawn[1:], drawn[:1], tokens=tokens)
        return dataclasses.replace(sample, is_text=False)
    if text is None and tokenizer.family != "base":
        sample = corpus_sample(tokenizer, tokens)
        _check_ids(max(max(window) for window in sample.windows), vocab_size)
        return sample
    label, content = (
        (DEMO_CORPUS, corpus_text()) if text is None else (text.name, read_text(text, option))
    )
    ids = tokenizer.encode(content)
    if len(ids) < MIN_TOKENS:
        raise ConfigError(
            "{file} holds {count} tokens; that is too short to tell anything.",
            hint="Name a text of at least {least} tokens, better of {most}: {option} FILE",
            option=option,
            file=label,
            count=len(ids),
            least=MIN_TOKENS,
            most=MAX_TOKENS,
        )
    _check_ids(max(ids), vocab_size)
    return cut(label, ids, _head(tokenizer), tokens=tokens)


def _check_ids(largest: int, vocab_size: int) -> None:
    if largest >= vocab_size:
        raise ConfigError(
            "The tokenizer gives id {id}; the model's vocabulary ends before {size}.",
            hint="The tokenizer belongs to another model.",
            id=largest,
            size=vocab_size,
        )


def _head(tokenizer: Tokenizer) -> list[int]:
    return [tokenizer.special_ids["[gMASK]"], tokenizer.special_ids["sop"]]


def read_text(path: Path, option: str = "--text") -> str:
    """A UTF-8 file of at most 16 MiB.

    Args:
        path: of the file.
        option: that named it, for messages.

    Raises:
        ConfigError: it is something else, or there is nothing in it.
    """
    try:
        data = read_regular(path, _MAX_BYTES)
        if len(data) > _MAX_BYTES:
            raise ConfigError("{file} is larger than 16 MiB.", file=path.name)
        content = decode(data, "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError("{file} is no UTF-8 text.", file=path.name) from error
    except OSError as error:
        raise ConfigError(
            "{file} cannot be read: {error}", file=str(path), error=error.strerror or str(error)
        ) from error
    if not content.strip():
        raise ConfigError(
            "{file} is empty; there is nothing in it to read.",
            hint="Name another text, or leave {option} out to take the demo's corpus.",
            option=option,
            file=path.name,
        )
    return content


def corpus_sample(tokenizer: Tokenizer, tokens: int = MAX_TOKENS) -> Sample:
    """The demo's dialogues as a chat would feed them, of which only the answers are predicted.

    Args:
        tokenizer: of a model that can chat.
        tokens: at most so many ids; dialogues are left out evenly. One is always taken.
    """
    from glmlite.demo.data import row

    rows = [row(dialogue.ask(next(dialogue.wordings())), tokenizer) for dialogue in _dialogues()]
    every = math.ceil(sum(len(ids) for ids, _labels in rows) / max(tokens, 1))
    windows: list[list[int]] = []
    answers: list[tuple[int, ...]] = []
    # Pairs of both languages.
    for number, (ids, labels) in enumerate(rows):
        if number // 2 % every == 0 and (
            not windows or sum(map(len, windows)) + len(ids) <= tokens
        ):
            windows.append(ids)
            known = enumerate(zip(labels[:-1], ids[1:], strict=True), 1)
            answers.append(tuple(place for place, (label, own) in known if label == own))
    return Sample(DEMO_CORPUS, tuple(windows), 0, tuple(answers))


def corpus_text() -> str:
    """The demo's dialogues as ChatGLM2 writes rounds."""
    return "".join(
        f"[Round {i}]\n\n问：{turn.ask[0]}\n\n答：{turn.answer}\n\n"
        for dialogue in _dialogues()
        for i, turn in enumerate(dialogue.turns, 1)
    )


def _dialogues() -> list[Dialogue]:
    """The demo's, Chinese and English in turn."""
    from glmlite.demo import load_corpus

    by_language: dict[str, list[Dialogue]] = {}
    for dialogue in load_corpus():
        by_language.setdefault(dialogue.language, []).append(dialogue)
    mixed = itertools.zip_longest(*by_language.values())
    return [dialogue for dialogue in itertools.chain.from_iterable(mixed) if dialogue]
