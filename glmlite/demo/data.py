"""Training rows: random conversations from the corpus, as ids and labels."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from glmlite.demo.dialogues import Dialogue

if TYPE_CHECKING:
    from glmlite.text import Tokenizer

NOT_LEARNED = -1
_POLITE = {
    "en": ("Please, ", "Tell me, ", "So, ", "Well, ", "Now, ", "Excuse me, "),
    "zh": ("请问", "请问，", "请告诉我，", "那么，", "我想知道，", "麻烦问一下，"),
}
Conversation = list[tuple[str, str]]


def reword(question: str, language: str, rng: random.Random) -> str:
    """Most often `question` itself, else opened politely, in lower case, or ended otherwise."""
    style = rng.random()
    if style < 0.6:
        return question
    mark, stop, shout = ("?", ".", "!") if language == "en" else ("？", "。", "！")
    body = question.rstrip(mark)
    if style < 0.7:
        opening = rng.choice(_POLITE[language])
        return opening + body + (mark if body != question else "")
    if style < 0.8:
        body = body.lower()
    return body + rng.choice(("", "", stop, mark if body != question else shout))


def random_words(tokenizer: Tokenizer, language: str, rng: random.Random) -> str:
    """A few pieces of the tokenizer that together mean nothing, in the script of `language`."""
    pieces = [piece.replace("▁", " ") for piece in tokenizer.vocabulary.pieces[259:]]
    own = [piece for piece in pieces if piece.isascii() == (language == "en")]
    return "".join(rng.sample(own, rng.randint(2, 7))).strip() or "?"


def draw(
    corpus: tuple[Dialogue, ...], tokens: int, tokenizer: Tokenizer, rng: random.Random
) -> Conversation:
    """Dialogues one after the other until they surely fill `tokens` ids."""
    conversation: Conversation = []
    length = 0
    # A dialogue that may begin in many ways comes often.
    weights = [len(dialogue.turns[0].ask) for dialogue in corpus]
    while length < tokens:
        (dialogue,) = rng.choices(corpus, weights)
        # Now and then only the opening: any question may follow any answer.
        turns = dialogue.turns if rng.random() < 0.8 else dialogue.turns[:1]
        for turn in turns:
            question = reword(rng.choice(turn.ask), dialogue.language, rng)
            if dialogue.unfamiliar and rng.random() < 0.4:
                question = random_words(tokenizer, dialogue.language, rng)
            conversation.append((question, turn.answer))
            length += len(tokenizer.encode(question + turn.answer)) + 10
    return conversation


def answer_ids(tokenizer: Tokenizer, answer: str) -> list[int]:
    """Ids of a reply where it stands in the prompt: after "答：", so without a dummy prefix."""
    return tokenizer.vocabulary.encode_continuation("\n" + answer)[1:]


def row(conversation: Conversation, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Ids of a conversation and the label of each: the next id of an answer, else `NOT_LEARNED`.

    The last position of an answer learns eos, which is not in the ids: as in a running chat, the
    next round follows the answer directly.
    """
    ids: list[int] = []
    labels: list[int] = []
    messages: list[dict[str, str]] = []
    for question, answer in conversation:
        messages.append({"role": "user", "content": question})
        prompt = tokenizer.template.continuation_ids(messages, len(messages) - 1)
        reply = answer_ids(tokenizer, answer)
        messages.append({"role": "assistant", "content": answer})
        ids += prompt + reply
        labels += [NOT_LEARNED] * (len(prompt) - 1) + reply + [tokenizer.eos_id]
    return ids, labels


def batches(
    corpus: tuple[Dialogue, ...],
    tokenizer: Tokenizer,
    shapes: list[tuple[int, int]],
    seed: int,
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Endless batches: ids and labels, int32 [rows, tokens], for each of `shapes` in turn."""
    rng = random.Random(seed)  # noqa: S311 - shuffling, no secret
    while True:
        for count, tokens in shapes:
            ids = np.empty((count, tokens), np.int32)
            labels = np.empty((count, tokens), np.int32)
            for i in range(count):
                full, wanted = row(draw(corpus, tokens, tokenizer, rng), tokenizer)
                full += [tokenizer.eos_id] * max(0, tokens - len(full))
                wanted += [NOT_LEARNED] * max(0, tokens - len(wanted))
                ids[i], labels[i] = full[:tokens], wanted[:tokens]
            yield ids, labels
