"""Ids to text as they arrive, never half a character."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glmlite.text.vocabulary import SPACE

if TYPE_CHECKING:
    from glmlite.text.tokenizer import Tokenizer

_REPLACEMENT = "\ufffd"


class StreamingDetokenizer:
    """Turns ids into text one at a time; what `push` and `flush` return adds up to `decode(ids)`.

    The rules are SentencePiece's: the very first "▁" is the dummy prefix and vanishes; byte pieces
    join to UTF-8 characters; a byte that belongs to none becomes U+FFFD; a piece, special token or
    silent id ends a run of bytes. At most three bytes are held back, so a push costs O(1).

    Args:
        tokenizer: whose ids are pushed.
        show_special: write special tokens such as "<|assistant|>" out instead of dropping them.
    """

    def __init__(self, tokenizer: Tokenizer, show_special: bool = False) -> None:
        self._pieces = tokenizer.vocabulary.pieces
        self._byte_values = tokenizer.vocabulary.byte_values
        self._silent_ids = tokenizer.vocabulary.silent_ids
        self._special = {i: n for n, i in tokenizer.special_ids.items()} if show_special else {}
        self._pending = b""
        self._at_start = True

    def push(self, token: int) -> str:
        """The text that `token` completes; may be empty. Ids that do not exist have no text."""
        token = int(token)
        byte = self._byte_values.get(token)
        if byte is not None:
            self._pending += bytes((byte,))
            return self._emit(self._take_characters())
        text = self._emit(self._take_rest())
        if 0 <= token < len(self._pieces) and token not in self._silent_ids:
            piece = self._pieces[token]
            if self._at_start and piece.startswith(SPACE):
                piece = piece[1:]
                self._at_start = False
            return text + self._emit(piece.replace(SPACE, " "))
        return text + self._emit(self._special.get(token, ""))

    def flush(self) -> str:
        """What is held back, each byte as U+FFFD; then ready for another text."""
        text = self._take_rest()
        self._at_start = True
        return text

    def _emit(self, text: str) -> str:
        if text:
            self._at_start = False
        return text

    def _take_rest(self) -> str:
        text, self._pending = _REPLACEMENT * len(self._pending), b""
        return text

    def _take_characters(self) -> str:
        """Whole characters at the front of the held bytes; leaves a beginning of one, or nothing.

        An invalid byte becomes one U+FFFD, as in SentencePiece; Python's "replace" would give one
        for a whole truncated sequence.
        """
        text = ""
        while True:
            decoded, rest = _decode_some(self._pending)
            text += decoded
            stuck = len(rest) == len(self._pending)
            self._pending = rest
            if stuck or not rest:
                return text


def _decode_some(data: bytes) -> tuple[str, bytes]:
    try:
        return data.decode("utf-8"), b""
    except UnicodeDecodeError as error:
        text = data[: error.start].decode("utf-8")
        if error.reason == "unexpected end of data":
            return text, data[error.start :]
        return text + _REPLACEMENT, data[error.start + 1 :]
