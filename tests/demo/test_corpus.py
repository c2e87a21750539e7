"""The corpus is bilingual, has conversations, and never contradicts itself."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from glmlite.demo import load_corpus
from glmlite.demo.data import NOT_LEARNED, answer_ids, batches, row
from glmlite.text import Tokenizer


def has_chinese(text: str) -> bool:
    return any("\u4e00" <= character <= "\u9fff" for character in text)


def conversations() -> Iterator[list[tuple[str, str]]]:
    for dialogue in load_corpus():
        for questions in dialogue.wordings():
            yield dialogue.ask(questions)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_both_languages_have_questions_and_conversations(language: str) -> None:
    dialogues = [d for d in load_corpus() if d.language == language]
    assert len(dialogues) >= 50
    assert sum(len(d.turns) > 1 for d in dialogues) >= 10
    assert any(len(d.turns) == 3 for d in dialogues)
    for dialogue in dialogues:
        assert len(dialogue.turns[0].ask) >= 2
        spoken = " ".join(turn.question + turn.answer for turn in dialogue.turns)
        assert has_chinese(spoken) or language == "en"


def test_an_opening_question_has_one_answer() -> None:
    answers: dict[str, str] = {}
    for dialogue in load_corpus():
        opening = dialogue.turns[0]
        assert len(set(opening.ask)) == len(opening.ask)
        for question in opening.ask:
            assert answers.setdefault(question, opening.answer) == opening.answer, question


def test_a_running_chat_has_the_same_ids_as_its_history_encoded_again(
    tokenizer: Tokenizer,
) -> None:
    for conversation in conversations():
        ids, _ = row(conversation, tokenizer)
        messages = [
            {"role": role, "content": text}
            for turn in conversation
            for role, text in zip(("user", "assistant"), turn, strict=True)
        ]
        whole = tokenizer.chat_ids([*messages, {"role": "user", "content": "?"}])
        assert whole[: len(ids)] == ids


def test_only_answers_are_learned_and_each_ends_with_eos(tokenizer: Tokenizer) -> None:
    for conversation in conversations():
        ids, labels = row(conversation, tokenizer)
        assert len(ids) == len(labels)
        learned = [label for label in labels if label != NOT_LEARNED]
        expected = [
            token
            for _, answer in conversation
            for token in [*answer_ids(tokenizer, answer), tokenizer.eos_id]
        ]
        assert learned == expected
        # Inside an answer a label is the next id.
        for here, following, label in zip(labels, ids[1:], labels, strict=False):
            if here not in (NOT_LEARNED, tokenizer.eos_id):
                assert label == following


def test_batches_depend_on_the_seed_only(tokenizer: Tokenizer) -> None:
    def draw(seed: int) -> list[bytes]:
        random.seed()  # the global generator must not matter
        stream = batches(load_corpus(), tokenizer, [(3, 40), (1, 90)], seed)
        return [part.tobytes() for pair in itertools.islice(stream, 4) for part in pair]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
