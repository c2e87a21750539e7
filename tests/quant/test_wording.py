"""Figures of accuracy in the reader's language, which the maker's does not decide."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glmlite import i18n
from glmlite.bundle.accuracy import AccuracyEntry
from glmlite.cli.quantize_tables import print_accuracy, print_comparison
from glmlite.demo import CHECKPOINT
from glmlite.errors import AccuracyError
from glmlite.model.config import Family
from glmlite.quant.accuracy import AccuracyReport
from glmlite.quant.bar import check_bar
from glmlite.quant.cpu_job import CpuJob
from glmlite.quant.cpu_pipeline import run_cpu
from glmlite.quant.job import QuantizeOptions
from glmlite.quant.report import REPORT
from glmlite.quant.sample import text_sample
from glmlite.quant.wording import perplexity_change, rounded, signed_percent, text_name
from glmlite.text import Tokenizer
from tests.fixtures.models import MODELS
from tests.fixtures.writing import write_checkpoint


@pytest.fixture
def speak(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def choose(language: str) -> None:
        monkeypatch.setenv("GLMLITE_LANG", language)
        i18n.language.cache_clear()

    yield choose
    monkeypatch.undo()
    i18n.language.cache_clear()


def entry(text: str, perplexity: float = 1.0007) -> AccuracyEntry:
    return AccuracyEntry(text, 99, 9, 1.0008, perplexity, 0.1, 0.2, 0.9, "int8 per token")


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.0, "0.00%"),
        (-0.0, "0.00%"),
        (-4e-5, "0.00%"),
        (4e-5, "0.00%"),
        (-6e-5, "-0.01%"),
        (6e-5, "+0.01%"),
        (1.5, "+150.00%"),
        (-0.1, "-10.00%"),
    ],
)
def test_a_change_that_is_too_small_to_be_shown_has_no_sign(share: float, shown: str) -> None:
    assert signed_percent(share) == shown


def test_a_change_of_the_perplexity() -> None:
    assert perplexity_change(AccuracyEntry("x", 9, 9, 10.0, 10.5, 0, 0, 1)) == pytest.approx(0.05)


def test_words_are_the_readers(speak: Callable[[str], None]) -> None:
    rules = "float32, int8 per block of 32, int8 per token"
    speak("en")
    assert text_name("demo corpus") == "demo corpus"
    assert rounded(rules) == rules
    speak("zh")
    assert [text_name(t) for t in ("demo corpus", "random ids", "my.txt")] == [
        "演示语料",
        "随机词元",
        "my.txt",
    ]
    assert rounded(rules) == "float32, 每 32 个值一块的 int8, 每词元 int8"


def test_screens_are_the_readers(
    speak: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = entry("demo corpus", perplexity=1.000793)
    for language, text, rule in (
        ("en", "demo corpus", "int8 per token"),
        ("zh", "演示语料", "每词元 int8"),
    ):
        speak(language)
        print_accuracy(shown)
        first = capsys.readouterr().out
        print_comparison([AccuracyReport("r", 9, shown, ())])
        for screen in (first, capsys.readouterr().out):
            assert text in screen
            assert rule in screen
            assert "0.00%" in screen
            assert "-0.00%" not in screen
        with pytest.raises(AccuracyError) as found:
            check_bar(entry("demo corpus", perplexity=2), 1)
        assert text in str(found.value)


@pytest.mark.parametrize("family", ["base", "glm2"])
def test_the_demos_corpus_is_called_the_same_whoever_measures(
    speak: Callable[[str], None], family: Family
) -> None:
    speak("zh")
    tokenizer = Tokenizer(CHECKPOINT / "tokenizer.model", family)
    assert text_sample(tokenizer, 9999, None, 40).label == "demo corpus"


def test_a_bundle_is_the_same_whoever_makes_it(
    speak: Callable[[str], None], tmp_path: Path
) -> None:
    """But for the page, which is for people."""
    pytest.importorskip("onnx")
    checkpoint = write_checkpoint(MODELS["glm2"], tmp_path / "checkpoint")
    recipe = tmp_path / "two.yaml"
    recipe.write_text("scheme: block\nbits: 4\nblock_size: 32\nprefill: {scheme: column}\n")
    options = QuantizeOptions(settings=[f"model.family={MODELS['glm2'].family}"], tokens=40)
    manifests = []
    for language in ("en", "zh"):
        speak(language)
        made = run_cpu(CpuJob.open(checkpoint, recipe, options), tmp_path / language).path
        manifest = json.loads((made / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["files"].pop(REPORT)
        manifests.append(manifest)
    assert manifests[0] == manifests[1]
    assert manifests[0]["accuracy"]["text"] == "random ids"
