"""The shipped weights answer the whole corpus by greedy decoding."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from glmlite.checkpoint import Checkpoint, check_parameters
from glmlite.demo import CHECKPOINT, Dialogue, load_corpus
from glmlite.demo.score import margins_of, score
from glmlite.demo.train import official_config
from glmlite.model.config import ModelConfig, detect_family, from_huggingface
from glmlite.runtime.chat import chat
from glmlite.runtime.engines.reference import ReferenceEngine
from glmlite.runtime.sampling import Sampler, SamplingParams
from glmlite.runtime.session import Session
from glmlite.text import Tokenizer, check_tokenizer


def test_the_checkpoint_is_a_small_chatglm2(
    checkpoint: Checkpoint, config: ModelConfig, tokenizer: Tokenizer
) -> None:
    assert checkpoint.raw_config is not None
    assert detect_family(checkpoint.raw_config) == "glm2"
    assert config == from_huggingface(official_config())
    check_parameters(checkpoint, config)
    check_tokenizer(tokenizer, config.vocab_size)
    assert checkpoint.dtype == "float16"
    assert sum(path.stat().st_size for path in CHECKPOINT.iterdir()) <= 4_000_000
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in CHECKPOINT.iterdir())


def test_every_wording_is_answered(
    checkpoint: Checkpoint, config: ModelConfig, tokenizer: Tokenizer
) -> None:
    result = score(config, checkpoint, tokenizer, load_corpus())
    assert result.answers > 700
    assert result.wrong == ()
    assert result.margins.min() > 0.5


class Int4:
    """The weights rounded to 4 bits in groups of 32, the embedding and vectors left alone."""

    def __init__(self, source: Checkpoint) -> None:
        self._source = source

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self._source.shapes()

    def read(self, name: str) -> NDArray[np.float32]:
        weight = np.asarray(self._source.read(name), np.float32)
        if weight.ndim == 1 or "embedding" in name:
            return weight
        groups = weight.reshape(-1, 32)
        scale = np.abs(groups).max(axis=1, keepdims=True) / 7 + 1e-12
        return (np.round(groups / scale) * scale).reshape(weight.shape).astype(np.float32)


def canonical(dialogues: Sequence[Dialogue]) -> list[Dialogue]:
    return [
        dataclasses.replace(d, turns=tuple(dataclasses.replace(t, ask=t.ask[:1]) for t in d.turns))
        for d in dialogues
    ]


def test_margins_survive_int4(
    checkpoint: Checkpoint, config: ModelConfig, tokenizer: Tokenizer
) -> None:
    assert score(config, Int4(checkpoint), tokenizer, canonical(load_corpus())).wrong == ()


def test_any_question_may_follow_any_answer(
    checkpoint: Checkpoint, config: ModelConfig, tokenizer: Tokenizer
) -> None:
    rng = random.Random(7)
    pairs = [rng.sample(load_corpus(), 2) for _ in range(60)]
    mixed = [Dialogue("", first.turns + second.turns) for first, second in pairs]
    result = score(config, checkpoint, tokenizer, canonical(mixed))
    # Unlike a dialogue's own turns, not every such pair was in the training rows.
    assert len(result.wrong) <= result.answers // 100


def test_a_chat_writes_the_answers_word_for_word(
    checkpoint: Checkpoint, config: ModelConfig, tokenizer: Tokenizer
) -> None:
    engine = ReferenceEngine(config, checkpoint, cache_length=256)
    sampler = Sampler(
        SamplingParams(),
        config.vocab_size,
        num_ids=tokenizer.num_ids,
        banned=tokenizer.never_sampled,
    )
    for dialogue in load_corpus():
        if len(dialogue.turns) == 1:
            continue
        session = Session(engine)
        messages: list[dict[str, str]] = []
        for turn in dialogue.turns:
            messages.append({"role": "user", "content": turn.question})
            pieces = list(
                chat(session, messages, tokenizer=tokenizer, sampler=sampler, max_new_tokens=99)
            )
            assert "".join(piece.text for piece in pieces) == turn.answer
            assert pieces[-1].finish_reason == "stop"
            messages += pieces[-1].reply


def test_margins() -> None:
    logits = np.array([[1.0, 3.0, 2.5], [0.0, -1.0, -4.0]], np.float32)
    assert margins_of(logits, np.array([1, 2])) == pytest.approx([0.5, -4.0])
