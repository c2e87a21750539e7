"""Streaming gives what decoding gives, and never half a character."""

from __future__ import annotations

import random
import time

from glmlite.text import StreamingDetokenizer, Tokenizer


def stream(tokenizer: Tokenizer, ids: list[int], show_special: bool = False) -> list[str]:
    detokenizer = StreamingDetokenizer(tokenizer, show_special)
    return [*map(detokenizer.push, ids), detokenizer.flush()]


def test_pushes_and_flush_add_up(glm3: Tokenizer) -> None:
    rng = random.Random(11)
    byte_ids = {value: i for i, value in glm3.vocabulary.byte_values.items()}
    for _ in range(500):
        ids: list[int] = []
        for _ in range(rng.randrange(10)):
            kind = rng.random()
            if kind < 0.4:  # a character in bytes, perhaps cut
                encoded = chr(rng.choice([0x41, 0xE9, 0x4F60, 0x1F44B])).encode()
                ids += [byte_ids[b] for b in encoded[: rng.randrange(1, 5)]]
            elif kind < 0.6:
                ids.append(byte_ids[rng.randrange(256)])
            else:
                ids.append(rng.randrange(-2, glm3.num_ids + 5))
        for show_special in (False, True):
            expected = glm3.decode(ids, show_special)
            assert "".join(stream(glm3, ids, show_special)) == expected


def test_text_never_shrinks_or_changes(glm2: Tokenizer) -> None:
    """Everything shown stays: each push extends, and valid text never shows U+FFFD."""
    rng = random.Random(12)
    for _ in range(100):
        text = "".join(rng.choice("你好👋𠮷é a\n▁龘") for _ in range(12)).replace("▁", "")
        pieces = stream(glm2, glm2.encode(text))
        assert "".join(pieces) == text
        assert not any("\ufffd" in piece for piece in pieces)
        assert pieces[-1] == ""


def test_invalid_bytes_are_settled_at_once(small2: Tokenizer) -> None:
    byte = {value: i for i, value in small2.vocabulary.byte_values.items()}
    # A surrogate, an overlong form and a code point beyond Unicode: no byte of them can join.
    assert stream(small2, [byte[b] for b in b"\xed\xa0\x80"]) == ["", "\ufffd" * 2, "\ufffd", ""]
    assert stream(small2, [byte[b] for b in b"\xc0\x80"]) == ["\ufffd", "\ufffd", ""]
    assert stream(small2, [byte[b] for b in b"\xf4\x90"]) == ["", "\ufffd" * 2, ""]
    # The next character is not lost.
    assert stream(small2, [byte[b] for b in b"\xf0\x9f\x41"]) == ["", "", "\ufffd\ufffdA", ""]


def test_a_flushed_detokenizer_starts_afresh(small2: Tokenizer) -> None:
    detokenizer = StreamingDetokenizer(small2)
    for _ in range(2):
        assert "".join(map(detokenizer.push, small2.encode("hello"))) == "hello"
        assert detokenizer.flush() == ""


def test_cost_does_not_grow_with_the_text(small2: Tokenizer) -> None:
    detokenizer = StreamingDetokenizer(small2)
    ids = small2.encode("你好 hello 𠮷" * 10)

    def seconds() -> float:
        start = time.perf_counter()
        for token in ids:
            detokenizer.push(token)
        return time.perf_counter() - start

    first = min(seconds() for _ in range(5))
    for _ in range(300):
        seconds()
    last = min(seconds() for _ in range(5))
    assert last < 5 * first + 1e-3
