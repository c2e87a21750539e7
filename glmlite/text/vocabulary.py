"""The pieces of a SentencePiece model, checked to be of the kind that ChatGLM2/3 use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glmlite.errors import TokenizerError

MAX_FILE_BYTES = 32 * 2**20  # the real file has 1 MB; whole-Unicode vocabularies have 5
SPACE = "\u2581"  # SentencePiece writes a space as this character

# Encoding and decoding gives every text back: spaces kept, no normalization, one dummy prefix.
_PROBE = "  a  \uff21\n b "
_RESERVED_NAMES = ("[MASK]", "[gMASK]", "[sMASK]", "<|system|>", "<|user|>", "<|assistant|>")


class Vocabulary:
    """Pieces and their ids; text to ids. Knows nothing of special tokens, which follow the pieces.

    Attributes:
        path: the file it was read from.
        pieces: the text of each piece as SentencePiece spells it ("▁" for a space).
        byte_values: id to byte, for the 256 byte-fallback pieces.
        silent_ids: unk and control pieces (bos, eos, ...): no text encodes to them and they decode
            to nothing.
        eos_id: the id that ends a text.

    Raises:
        TokenizerError: the file is missing, too large, no SentencePiece model, or of another kind
            than ChatGLM2/3 use.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._processor = _load(self.path)
        count = self._processor.get_piece_size()
        ids = list(range(count))
        try:
            self.pieces: list[str] = self._processor.id_to_piece(ids)
        except UnicodeDecodeError as error:
            raise TokenizerError(
                "{path} is damaged: a piece is not valid UTF-8.", path=self.path
            ) from error
        control, unknown = self._processor.is_control(ids), self._processor.is_unknown(ids)
        self.silent_ids = frozenset(i for i in ids if control[i] or unknown[i])
        self.byte_values = {
            i: int(self.pieces[i][3:5], 16)
            for i, is_byte in enumerate(self._processor.is_byte(ids))
            if is_byte
        }
        self.eos_id: int = self._processor.eos_id()
        self._check()
        self._byte_ids = {value: i for i, value in self.byte_values.items()}

    def __len__(self) -> int:
        return len(self.pieces)

    def _check(self) -> None:
        found = len(self.byte_values)
        if found != 256:
            raise TokenizerError(
                "{path} has no byte fallback: {found} of the 256 byte pieces are there, so some "
                "text would be lost.",
                hint="Use the tokenizer.model that came with the checkpoint.",
                path=self.path,
                found=found,
            )
        if self.eos_id not in self.silent_ids:
            raise TokenizerError("{path} has no end-of-text piece (eos).", path=self.path)
        reserved = [name for name in _RESERVED_NAMES if name in self.pieces]
        if reserved:
            raise TokenizerError(
                "{path} has {name} as a piece of its own; ChatGLM2 and ChatGLM3 place it after the "
                "pieces.",
                hint="It may belong to ChatGLM-6B of the first generation, which is not supported "
                "yet.",
                path=self.path,
                name=reserved[0],
            )
        # SentencePiece 0.1 finds such a symbol in text, and then gives no ids at all.
        characters = [self.pieces[i] for i in self.silent_ids if len(self.pieces[i]) == 1]
        if characters:
            raise TokenizerError(
                "{path} has the single character {found!r} as a control symbol, so text with it "
                "would be lost.",
                path=self.path,
                found=characters[0],
            )
        prefixed = self._processor.encode("a", out_type=str)[0].startswith(SPACE)
        if not prefixed or self._processor.decode(self._processor.encode(_PROBE)) != _PROBE:
            raise TokenizerError(
                "{path} changes text (spaces dropped, characters normalized, or no dummy prefix); "
                "the tokenizers of ChatGLM2 and ChatGLM3 give every text back.",
                path=self.path,
            )

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, with SentencePiece's dummy prefix; never a silent id.

        Raises:
            TokenizerError: `text` is no string, or holds half a surrogate pair; or the file is so
                odd that it has no ids for it.
        """
        check_text(text)
        ids: list[int] = self._processor.encode(text, out_type=int)
        # `_check` keeps the known ways to get here out; a text must not become a control token.
        if not self.silent_ids.isdisjoint(ids) or bool(ids) != bool(text):
            raise TokenizerError("{path} has no ids for a part of this text.", path=self.path)
        return ids

    def encode_continuation(self, text: str) -> list[int]:
        """Ids of a text that follows other text: `encode(text)` without the dummy prefix."""
        ids = self.encode(text)
        first = self.pieces[ids[0]] if ids else ""
        if not first.startswith(SPACE):
            return ids
        rest = first[1:]
        if not rest:
            return ids[1:]
        token = self._processor.piece_to_id(rest)
        if token in self.silent_ids or token in self.byte_values:
            spelled = rest.replace(SPACE, " ").encode("utf-8")
            return [self._byte_ids[byte] for byte in spelled] + ids[1:]
        return [token, *ids[1:]]


def check_text(text: object) -> None:
    """Refuse what no tokenizer can encode.

    Raises:
        TokenizerError: `text` is no string, or holds half a surrogate pair.
    """
    if not isinstance(text, str):
        raise TokenizerError("Expected text, found {found}.", found=type(text).__name__)
    position = find_surrogate(text)
    if position is not None:
        raise TokenizerError(
            "Character {position} of a text is half a surrogate pair, which is no valid Unicode.",
            position=position + 1,
        )


def find_surrogate(text: str) -> int | None:
    """Index of the first lone surrogate; None where the text is valid Unicode."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return error.start
    return None


def _load(path: Path) -> Any:
    from sentencepiece import SentencePieceProcessor

    try:
        if not path.is_file():
            raise TokenizerError(
                "There is no tokenizer file at {path}.",
                hint="The tokenizer of ChatGLM2/ChatGLM3 is the file tokenizer.model beside "
                "config.json.",
                path=path,
            )
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TokenizerError(
            "Cannot read {path}: {reason}.", path=path, reason=error.strerror or str(error)
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise TokenizerError(
            "{path} has more than {limit} bytes; the tokenizer.model of ChatGLM2/ChatGLM3 has "
            "about one million.",
            path=path,
            limit=MAX_FILE_BYTES,
        )
    processor = SentencePieceProcessor()
    try:
        # An empty file would pass for an empty model in some releases.
        loaded = bool(data) and processor.load_from_serialized_proto(data)
    except (RuntimeError, ValueError):  # ValueError: a reason that is not valid UTF-8 itself
        loaded = False
    if not loaded or processor.get_piece_size() == 0:
        raise TokenizerError(
            "{path} is no SentencePiece model.",
            hint="Use the tokenizer.model that came with the checkpoint. A file of some 130 bytes "
            "is only a Git LFS pointer: fetch the real one with `git lfs pull`.",
            path=path,
        )
    return processor
