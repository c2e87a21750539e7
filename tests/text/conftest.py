"""Tokenizers for these tests: a trained small one, the demo's, and the real one of the goldens."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from glmlite.i18n import language
from glmlite.text import Tokenizer

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT.parent / "shared" / "golden"
DEMO = ROOT / "glmlite" / "demo" / "checkpoint" / "tokenizer.model"

_CORPUS = [
    "你好，我是一个语言模型。 hello world, this is a small tokenizer",
    "[Round 1] 问：你好 答：你好！ the quick brown fox jumps over the lazy dog ★",
    "  two  spaces\nand a newline </s> <tool> [gMASK] <|user|>",
] * 40


def train(**options: Any) -> bytes:
    """A SentencePiece model; by default of the kind that ChatGLM2/3 use."""
    settings = {
        "model_type": "bpe",
        "vocab_size": 420,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "character_coverage": 1.0,
        "hard_vocab_limit": False,
        "unk_id": 0,
        "bos_id": 1,
        "eos_id": 2,
        "pad_id": -1,
        "minloglevel": 2,
        **options,
    }
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_CORPUS), model_writer=out, **settings
    )
    return out.getvalue()


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Errors in English, whatever the machine's locale."""
    monkeypatch.setenv("GLMLITE_LANG", "en")
    language.cache_clear()
    yield
    language.cache_clear()


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model with two control symbols that occur in ordinary text."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    path.write_bytes(train(control_symbols=["<tool>", "\n\n"]))
    return path


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """templates.json of the goldens."""
    path = GOLDEN / "templates.json"
    if not path.is_file():
        pytest.skip("no goldens: ../shared/golden/templates.json is absent")
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


@pytest.fixture(scope="session", params=["small", "demo", "golden"])
def model_path(request: pytest.FixtureRequest, small_model: Path) -> Path:
    """Each tokenizer that is there."""
    path = {"small": small_model, "demo": DEMO, "golden": GOLDEN / "tokenizer.model"}[request.param]
    if not path.is_file():
        pytest.skip(f"no {request.param} tokenizer at {path.name}")
    return path


@pytest.fixture(scope="session")
def glm2(model_path: Path) -> Tokenizer:
    return Tokenizer(model_path, "glm2")


@pytest.fixture(scope="session")
def glm3(model_path: Path) -> Tokenizer:
    return Tokenizer(model_path, "glm3")


@pytest.fixture(scope="session")
def processor(model_path: Path) -> Any:
    """SentencePiece itself, the oracle."""
    return sentencepiece.SentencePieceProcessor(model_file=str(model_path))


@pytest.fixture(scope="session")
def small2(small_model: Path) -> Tokenizer:
    return Tokenizer(small_model, "glm2")


@pytest.fixture(scope="session")
def small3(small_model: Path) -> Tokenizer:
    return Tokenizer(small_model, "glm3")
