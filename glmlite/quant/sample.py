"""The text that accuracy is measured on, as windows of ids."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from glmlite.errors import ConfigError
from glmlite.i18n import _

if TYPE_CHECKING:
    from glmlite.bundle import Bundle
    from glmlite.text import Tokenizer

WINDOW = 256
MAX_TOKENS = 2048
_MAX_BYTES = 16 << 20
_SEED = 20231027


@dataclasses.dataclass(frozen=True)
class Sample:
    """Ids to predict.

    Attributes:
        label: where they come from, for the report.
        windows: ids, each beginning with `given` ids that are not predicted.
        given: 2 for `[gMASK] sop`.
    """

    label: str
    windows: tuple[list[int], ...]
    given: int

    @property
    def window(self) -> int:
        """Ids of the longest window."""
        return max(len(window) for window in self.windows)


def cut(label: str, ids: list[int], head: list[int], window: int = WINDOW) -> Sample:
    """Windows that together hold the first `MAX_TOKENS` of `ids` once, each behind `head`."""
    ids = ids[:MAX_TOKENS]
    size = max(1, window - len(head))
    windows = tuple(head + ids[start : start + size] for start in range(0, len(ids), size))
    return Sample(label, windows, len(head))


def make_sample(bundle: Bundle, text: Path | None) -> Sample:
    """The user's text, else the demo's corpus, else (without a tokenizer) seeded random ids.

    Raises:
        ConfigError: the text cannot be read, is too short, or there is no tokenizer for it.
    """
    if bundle.tokenizer_path is None:
        if text is not None:
            raise ConfigError(
                "The bundle has no tokenizer, so a text cannot be measured.",
                hint="Leave --text out: random ids are taken then.",
            )
        vocabulary = bundle.manifest.model.vocab_size
        drawn = np.random.default_rng(_SEED).integers(0, vocabulary, 512).tolist()
        return cut(_("random ids"), drawn[1:], drawn[:1])
    from glmlite.text import Tokenizer

    tokenizer = Tokenizer(bundle.tokenizer_path, bundle.manifest.family)
    label, content = (text.name, read_text(text)) if text else (_("demo corpus"), corpus_text())
    ids = tokenizer.encode(content)
    if len(ids) < 2:
        raise ConfigError(
            "{file} holds {count} tokens; that is too short to measure anything.",
            file=label,
            count=len(ids),
        )
    return cut(label, ids, _head(tokenizer))


def _head(tokenizer: Tokenizer) -> list[int]:
    return [tokenizer.special_ids["[gMASK]"], tokenizer.special_ids["sop"]]


def read_text(path: Path) -> str:
    """A UTF-8 file of at most 16 MiB.

    Raises:
        ConfigError: it is something else.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError("{file} is larger than 16 MiB.", file=path.name)
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError("{file} is no UTF-8 text.", file=path.name) from error
    except OSError as error:
        raise ConfigError(
            "{file} cannot be read: {error}", file=str(path), error=error.strerror or str(error)
        ) from error


def corpus_text() -> str:
    """The demo's dialogues as ChatGLM2 writes rounds, Chinese and English in turn."""
    import itertools

    from glmlite.demo import load_corpus

    by_language: dict[str, list[str]] = {}
    for dialogue in load_corpus():
        rounds = [
            f"[Round {i}]\n\n问：{turn.ask[0]}\n\n答：{turn.answer}\n\n"
            for i, turn in enumerate(dialogue.turns, 1)
        ]
        by_language.setdefault(dialogue.language, []).append("".join(rounds))
    mixed = itertools.zip_longest(*by_language.values(), fillvalue="")
    return "".join(itertools.chain.from_iterable(mixed))
