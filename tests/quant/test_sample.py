"""Texts to measure on and to calibrate with: as windows of ids, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glmlite.bundle import Bundle
from glmlite.demo import load_corpus
from glmlite.errors import ConfigError
from glmlite.quant.bar import require_text
from glmlite.quant.job import Job, QuantizeOptions
from glmlite.quant.pipeline import measure_only
from glmlite.quant.sample import MAX_TOKENS, WINDOW, cut, make_sample, text_sample
from glmlite.text import Tokenizer
from tests.cli.conftest import write_bundle


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(write_bundle(tmp_path_factory.mktemp("accuracy") / "demo"))


def test_the_demos_dialogues(demo: Bundle) -> None:
    sample = make_sample(demo, None)
    assert sum(map(len, sample.windows)) <= MAX_TOKENS
    gmask, sop = (demo.manifest.tokenizer.special_ids[t] for t in ("[gMASK]", "sop"))
    assert all(window[:2] == [gmask, sop] for window in sample.windows)
    tokenizer = Tokenizer(demo.tokenizer_path, "glm2")
    answers = {turn.answer for dialogue in load_corpus() for turn in dialogue.turns}
    known = 0
    for window, places in zip(sample.windows, sample.predicted(), strict=True):
        # Answers and nothing else; a second turn's stands behind its question.
        runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
        said = [tokenizer.decode([window[place] for place in run]) for run in runs]
        assert set(said) <= answers
        known += len(said)
    assert known >= len(sample.windows) > 20
    # Half of them are in each language, also after the split.
    for part in (sample, *sample.split()):
        chinese = sum(_is_chinese(tokenizer, window) for window in part.windows)
        assert abs(2 * chinese - len(part.windows)) <= 2
    together = [w for part in sample.split() for w in part.windows]
    assert sorted(together) == sorted(sample.windows)


def _is_chinese(tokenizer: Tokenizer, window: list[int]) -> bool:
    answer = tokenizer.decode(window).rsplit("答：", 1)[1]
    return any("\u4e00" <= c <= "\u9fff" for c in answer)


def test_samples(demo: Bundle, tmp_path: Path) -> None:
    base = text_sample(Tokenizer(demo.tokenizer_path, "base"), 9999, None)
    assert all(len(window) <= WINDOW for window in base.windows)
    assert base.predicted()[0] == range(2, WINDOW)
    text = tmp_path / "my.txt"
    text.write_text("你好，glmlite！" * 60, encoding="utf-8")
    sample = make_sample(demo, text, tokens=100)
    assert (sample.label, sum(map(len, sample.windows))) == ("my.txt", 102)
    # A checkpoint has a tokenizer without a bundle.
    tokenizer = Tokenizer(demo.tokenizer_path, demo.manifest.family)
    assert text_sample(tokenizer, demo.manifest.model.vocab_size, text, 100) == sample


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        ("你好".encode(), "too short"),
        (b"\xff\xff", "no UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_texts_that_cannot_be_used(
    demo: Bundle, tmp_path: Path, content: bytes | None, message: str
) -> None:
    text = tmp_path / "my.txt"
    if content is not None:
        text.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        make_sample(demo, text)


def test_another_models_tokenizer(demo: Bundle) -> None:
    tokenizer = Tokenizer(demo.tokenizer_path, demo.manifest.family)
    with pytest.raises(ConfigError, match="belongs to another model"):
        text_sample(tokenizer, 50, None)


def test_a_text_for_measuring_and_calibrating() -> None:
    sample = cut("x", list(range(10, 60)), [7, 8], window=12)
    measured, calibrated = sample.split()
    assert [w[2] for w in measured.windows] == [10, 20, 50]
    assert [w[2] for w in calibrated.windows] == [30, 40]
    measured, calibrated = cut("x", list(range(10, 30)), [7, 8], window=12).split()
    assert [w[2] for w in (*measured.windows, *calibrated.windows)] == [10, 20]
    alone = cut("x", [1, 2, 3], [7, 8])
    assert alone.split() == (alone, alone)


def test_without_a_tokenizer_ids_are_drawn(tiny: Path, tmp_path: Path, small_recipe) -> None:
    found = measure_only(Job.open(tiny, small_recipe(), QuantizeOptions()))
    assert found.text == "random ids"
    assert found.tokens == 511
    bundle = Bundle.open(tiny)
    with pytest.raises(ConfigError, match="no tokenizer"):
        make_sample(bundle, tmp_path / "my.txt")
    with pytest.raises(ConfigError, match="needs a text"):
        require_text(make_sample(bundle, None))
