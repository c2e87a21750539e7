"""Text to ids and back, for ChatGLM2 and ChatGLM3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from glmlite.errors import TokenizerError
from glmlite.model.config import FAMILIES, Family
from glmlite.text.detokenizer import StreamingDetokenizer
from glmlite.text.templates import PromptTemplate, template_for
from glmlite.text.vocabulary import SPACE, Vocabulary

# In this order their ids follow the pieces (official tokenization_chatglm.py of each release).
_GLM2_SPECIALS = ("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop")
_GLM3_SPECIALS = (*_GLM2_SPECIALS, "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")


class Tokenizer:
    """The SentencePiece model of a GLM and the special tokens of its family.

    Text never becomes a special token, whatever it spells: "[gMASK]", "<|user|>" and "</s>" are
    plain text.

    Args:
        path: a SentencePiece model with byte fallback (`tokenizer.model`).
        family: "glm2", "glm3", or "base" (the special tokens of ChatGLM2, no chat template).

    Attributes:
        vocabulary: the pieces.
        special_ids: name to id of the special tokens.
        eos_id: the id that ends a text.
        num_ids: how many ids exist; the model's logits may be wider.
        stop_ids: ids that end a reply.
        never_sampled: ids below `num_ids` that no reply holds: unk, bos, [MASK], ...

    Raises:
        TokenizerError: the file or the family is not what it must be.
    """

    def __init__(self, path: str | Path, family: Family = "glm2") -> None:
        if family not in FAMILIES:
            raise TokenizerError(
                "There is no family {found!r}; known families: {known}.",
                found=family,
                known=", ".join(FAMILIES),
            )
        self.family: Family = family
        self.vocabulary = Vocabulary(path)
        names = _GLM3_SPECIALS if family == "glm3" else _GLM2_SPECIALS
        first = len(self.vocabulary)
        self.special_ids: dict[str, int] = {name: first + i for i, name in enumerate(names)}
        self.num_ids = first + len(names)
        self.eos_id = self.vocabulary.eos_id
        self.prefix_ids = (self.special_ids["[gMASK]"], self.special_ids["sop"])
        self._template = template_for(family, self) if family != "base" else None
        self.stop_ids = self._template.stop_ids if self._template else frozenset({self.eos_id})
        # A ChatGLM3 reply may go on with a second turn: "...<|assistant|>tool_name\n...".
        inside = {self.special_ids["<|assistant|>"]} if family == "glm3" else set()
        silent = self.vocabulary.silent_ids | set(self.special_ids.values())
        self.never_sampled = frozenset(silent - self.stop_ids - inside)

    @property
    def template(self) -> PromptTemplate:
        """How messages become a prompt.

        Raises:
            TokenizerError: a base model has no chat template.
        """
        if self._template is None:
            raise TokenizerError(
                "This is a base model: it continues text and was not trained to chat.",
                hint="Use `glmlite generate` with the whole prompt.",
            )
        return self._template

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without [gMASK] sop and never a special id.

        Raises:
            TokenizerError: `text` is no string, or holds half a surrogate pair.
        """
        return self.vocabulary.encode(text)

    def prompt_ids(self, text: str) -> list[int]:
        """[gMASK] sop and the ids of `text`: a prompt without a chat template."""
        return [*self.prefix_ids, *self.encode(text)]

    def chat_ids(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Ids of the whole prompt that asks for the next reply; see `PromptTemplate.chat_ids`."""
        return self.template.chat_ids(messages)

    def decode(self, ids: Iterable[int], show_special: bool = False) -> str:
        """Text of `ids`; ids that do not exist, unk, bos and eos have none.

        Args:
            ids: of any length.
            show_special: write special tokens such as "<|assistant|>" out instead of dropping them.
        """
        detokenizer = StreamingDetokenizer(self, show_special)
        return "".join([detokenizer.push(token) for token in ids]) + detokenizer.flush()

    def piece_bytes(self, token: int) -> bytes:
        """UTF-8 bytes of `token` alone, a leading space kept; b"" where it has none."""
        byte = self.vocabulary.byte_values.get(token)
        if byte is not None:
            return bytes((byte,))
        if token in self.vocabulary.silent_ids or not 0 <= token < len(self.vocabulary):
            return b""
        return self.vocabulary.pieces[token].replace(SPACE, " ").encode("utf-8")


def check_tokenizer(tokenizer: Tokenizer, vocab_size: int) -> None:
    """Refuse a tokenizer that belongs to another model.

    The official vocabulary is padded (64,794 ids in 65,024 rows), so fewer ids than rows are fine;
    more ids, or less than half of the rows used, are not.

    Raises:
        TokenizerError: with both numbers.
    """
    if not tokenizer.num_ids <= vocab_size < 2 * tokenizer.num_ids:
        raise TokenizerError(
            "The tokenizer does not fit the model: {path} has {num_ids} ids, the model's "
            "vocabulary {vocab_size}.",
            hint="Use the tokenizer.model that came with the checkpoint.",
            path=tokenizer.vocabulary.path,
            num_ids=tokenizer.num_ids,
            vocab_size=vocab_size,
        )
