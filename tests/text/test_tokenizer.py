"""Encoding and decoding against SentencePiece itself, and the checks of the file."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import pytest

from glmlite.errors import TokenizerError
from glmlite.text import Tokenizer, check_tokenizer
from glmlite.text.vocabulary import MAX_FILE_BYTES
from tests.text.conftest import train

SPELLED = ["[MASK]", "[gMASK]sop", "<|user|>", "<|assistant|>", "</s>", "<s>", "<unk>", "<tool>"]
TEXTS = [
    *SPELLED,
    "",
    " ",
    "   ",
    "\n\n",
    " a  b ",
    "你好，world\t！",
    "★",
    "a★b",
    "👨‍👩‍👧 𠮷 ﬁ ＡＢＣ é",
    "<0x0A>",
    "a\0b",
    "\ufffd",
]


def random_text(rng: random.Random) -> str:
    kinds = (
        lambda: chr(rng.randrange(32, 127)),
        lambda: chr(rng.randrange(0x4E00, 0x9FA5)),
        lambda: chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x10000)])),
        lambda: chr(rng.randrange(0x10000, 0x110000)),
        lambda: rng.choice(" \n\t\0"),
        lambda: rng.choice(SPELLED),
    )
    return "".join(rng.choice(kinds)() for _ in range(rng.randrange(12)))


def test_texts_round_trip_and_never_become_special(glm3: Tokenizer, processor: Any) -> None:
    rng = random.Random(20230625)
    for text in [*TEXTS, *(random_text(rng) for _ in range(300))]:
        ids = glm3.encode(text)
        assert glm3.decode(ids) == text.replace("▁", " "), ascii(text)
        assert all(i < len(glm3.vocabulary) for i in ids)
        assert not any(processor.is_control(i) or processor.is_unknown(i) for i in ids)
        assert ids == processor.encode(text), ascii(text)


@pytest.mark.parametrize("ids", [[], [2], [50, 3]])
def test_a_control_id_or_nothing_is_refused(
    small2: Tokenizer, monkeypatch: pytest.MonkeyPatch, ids: list[int]
) -> None:
    """Whatever a release of SentencePiece makes of a text that spells a control symbol."""

    class Careless:
        def encode(self, text: str, out_type: type) -> list[int]:
            return ids

    monkeypatch.setattr(small2.vocabulary, "_processor", Careless())
    with pytest.raises(TokenizerError, match="no ids for a part"):
        small2.encode("★")


def test_decode_equals_sentencepiece(glm2: Tokenizer, processor: Any) -> None:
    rng = random.Random(7)
    pieces = processor.get_piece_size()
    byte_ids = sorted(glm2.vocabulary.byte_values)
    for _ in range(400):
        ids = []
        for _ in range(rng.randrange(14)):
            kind = rng.random()
            if kind < 0.5:
                ids.append(rng.choice(byte_ids))
            elif kind < 0.6:
                ids.append(rng.randrange(3))
            else:
                ids.append(rng.randrange(pieces + 8))
        # As the official tokenizers do: what has no text is an empty piece.
        spelled = [
            "" if i >= pieces or processor.is_unknown(i) else processor.id_to_piece(i) for i in ids
        ]
        assert glm2.decode(ids) == processor.decode_pieces(spelled), ids


def test_continuation_has_no_dummy_prefix(glm2: Tokenizer) -> None:
    before = glm2.encode("x")
    for text in [*TEXTS, "\n\n[Round 2]\n\n问：", "hello", "好", " hello"]:
        ids = glm2.vocabulary.encode_continuation(text)
        assert glm2.decode(before + ids) == "x" + text, text


def test_special_ids_follow_the_pieces(small_model: Path) -> None:
    two, three, base = (Tokenizer(small_model, f) for f in ("glm2", "glm3", "base"))
    first = len(two.vocabulary)
    assert list(two.special_ids.values()) == list(range(first, first + 5))
    assert list(three.special_ids.values()) == list(range(first, first + 9))
    assert base.special_ids == two.special_ids
    assert (two.num_ids, three.num_ids) == (first + 5, first + 9)
    assert two.prompt_ids("a")[:2] == [first + 1, first + 3]
    assert three.special_ids["<|assistant|>"] not in three.never_sampled
    for tokenizer in (two, three, base):
        assert tokenizer.eos_id == 2
        assert tokenizer.eos_id in tokenizer.stop_ids
        assert not tokenizer.stop_ids & tokenizer.never_sampled
        assert {0, 1, first, first + 1} <= tokenizer.never_sampled
    with pytest.raises(TokenizerError, match="base model"):
        base.chat_ids([{"role": "user", "content": "hi"}])


def test_special_tokens_are_shown_on_demand(small3: Tokenizer) -> None:
    ids = [*small3.prefix_ids, *small3.encode("hi")]
    assert small3.decode(ids) == "hi"
    assert small3.decode(ids, show_special=True) == "[gMASK]sop hi"
    assert small3.decode([small3.num_ids, 10**9, -5], show_special=True) == ""


def test_piece_bytes(small3: Tokenizer) -> None:
    assert b"".join(map(small3.piece_bytes, small3.encode("你 𠮷"))) == " 你 𠮷".encode()
    for token in (0, 1, 2, small3.prefix_ids[0], small3.num_ids, -1):
        assert small3.piece_bytes(token) == b""


@pytest.mark.parametrize("text", [None, 3, b"bytes", ["a"], "a\ud800b", "\udfff"])
def test_what_is_no_text(small2: Tokenizer, text: Any) -> None:
    with pytest.raises(TokenizerError):
        small2.encode(text)


def test_fit(small2: Tokenizer) -> None:
    check_tokenizer(small2, small2.num_ids)
    check_tokenizer(small2, small2.num_ids + 230)
    for size in (small2.num_ids - 1, 65024):
        with pytest.raises(TokenizerError, match="does not fit") as caught:
            check_tokenizer(small2, size)
        assert str(small2.num_ids) in str(caught.value)
        assert str(size) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no SentencePiece model"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "no SentencePiece model"),
        (b"\x0a" * 1000, "no SentencePiece model"),
        (b"\x00" * (MAX_FILE_BYTES + 1), "more than"),
        (b"\x0a\x0a\x0a\x03\xff\xfe\xfd\x15\0\0\0", "no SentencePiece model"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=reason):
        Tokenizer(path)


def test_missing_files(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", str(tmp_path / ("x" * 5000)), "a\0b"):
        with pytest.raises(TokenizerError):
            Tokenizer(path)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"byte_fallback": False, "vocab_size": 90}, "no byte fallback: 0 of"),
        ({"eos_id": -1}, "no end-of-text"),
        ({"normalization_rule_name": "nmt_nfkc"}, "changes text"),
        ({"remove_extra_whitespaces": True}, "changes text"),
        ({"add_dummy_prefix": False}, "changes text"),
        ({"user_defined_symbols": ["[gMASK]"]}, "piece of its own"),
        ({"control_symbols": ["<|user|>"]}, "piece of its own"),
        ({"control_symbols": ["★"]}, "single character '★'"),
        ({"model_type": "word", "vocab_size": 300}, "changes text"),
    ],
)
def test_models_of_another_kind(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(train(**options))
    with pytest.raises(TokenizerError, match=reason):
        Tokenizer(path)


def test_a_piece_that_is_no_text(tmp_path: Path, small_model: Path) -> None:
    def piece(text: bytes) -> bytes:
        body = b"\x0a" + bytes([len(text)]) + text + b"\x15" + struct.pack("<f", -9.0)
        return b"\x0a" + bytes([len(body)]) + body

    path = tmp_path / "tokenizer.model"
    path.write_bytes(piece(b"\xff\xfe") + small_model.read_bytes())
    with pytest.raises(TokenizerError, match="not valid UTF-8"):
        Tokenizer(path)


def test_damaged_files_raise_or_work(tmp_path: Path, small_model: Path) -> None:
    data = small_model.read_bytes()
    rng = random.Random(1)
    path = tmp_path / "tokenizer.model"
    for _ in range(60):
        broken = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        path.write_bytes(bytes(broken[: rng.choice([len(broken), rng.randrange(len(broken))])]))
        try:
            tokenizer = Tokenizer(path)
        except TokenizerError:
            continue
        assert isinstance(tokenizer.decode(tokenizer.encode("hello 你好")), str)


def test_unknown_family(small_model: Path) -> None:
    with pytest.raises(TokenizerError, match="glm4"):
        Tokenizer(small_model, "glm4")  # type: ignore[arg-type]
