"""The demo's tokenizer is laid out as ChatGLM2's; judged by the sentencepiece library."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece

from glmlite.demo import CHECKPOINT, load_corpus
from glmlite.demo.tokenizer import NUM_PIECES, padded_vocab_size, train_tokenizer
from glmlite.text import Tokenizer


@pytest.fixture(scope="module")
def pieces() -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(CHECKPOINT / "tokenizer.model"))


def test_layout(pieces: sentencepiece.SentencePieceProcessor) -> None:
    assert pieces.get_piece_size() == NUM_PIECES
    assert (pieces.unk_id(), pieces.bos_id(), pieces.eos_id(), pieces.pad_id()) == (0, 1, 2, -1)
    assert [pieces.id_to_piece(i) for i in (3, 13, 258)] == ["<0x00>", "<0x0A>", "<0xFF>"]
    assert all(pieces.is_byte(i) == (3 <= i <= 258) for i in range(NUM_PIECES))


def test_special_ids_follow_the_pieces(tokenizer: Tokenizer) -> None:
    names = ("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop")
    assert tokenizer.special_ids == {name: NUM_PIECES + i for i, name in enumerate(names)}
    assert tokenizer.num_ids < padded_vocab_size(NUM_PIECES)
    assert padded_vocab_size(NUM_PIECES) % 32 == 0


@pytest.mark.parametrize(
    "text",
    ["\n", "\n\n", "a\nb\t c  ", "  leading", "鬱🙂é\u0000", "１２", "\ufffd", "[gMASK] sop</s>"],
)
def test_no_text_is_lost(pieces: sentencepiece.SentencePieceProcessor, text: str) -> None:
    ids = pieces.encode(text)
    assert pieces.decode(ids) == text
    assert 0 not in ids


def test_the_empty_text_has_no_ids(pieces: sentencepiece.SentencePieceProcessor) -> None:
    assert pieces.encode("") == []


def test_the_corpus_needs_no_byte_pieces(pieces: sentencepiece.SentencePieceProcessor) -> None:
    for dialogue in load_corpus():
        for turn in dialogue.turns:
            for text in (*turn.ask, turn.answer):
                assert all(token > 258 for token in pieces.encode(text)), text


def test_it_is_the_one_that_the_corpus_gives(
    tmp_path: Path, pieces: sentencepiece.SentencePieceProcessor
) -> None:
    train_tokenizer(tmp_path / "tokenizer.model")
    again = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    assert [again.id_to_piece(i) for i in range(again.get_piece_size())] == [
        pieces.id_to_piece(i) for i in range(NUM_PIECES)
    ]
