"""`AutoTokenizer`, `ChatGLM2Tokenizer`, `ChatGLM3Tokenizer`: MindFormers' calls over glmlite's own.

Text never becomes a special token here either, whatever it spells.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glmlite.bundle import Bundle
from glmlite.compat.locate import is_bundle, locate_bundle
from glmlite.errors import ConfigError, TokenizerError
from glmlite.i18n import _
from glmlite.model.config import Family
from glmlite.text import Glm3Template, Tokenizer
from glmlite.text.messages import check_messages

_FILE = "tokenizer.model"


class BatchEncoding(dict[str, Any]):
    """A dict whose keys are attributes as well."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class ChatGLM2Tokenizer:
    """MindFormers' ChatGLM2Tokenizer.

    Args:
        vocab_file: `tokenizer.model`.
        **_names: MindFormers' bos_token, mask_token, …; the ids are always the official ones.
    """

    family: Family = "glm2"
    pad_token_id = 0

    def __init__(self, vocab_file: str | os.PathLike[str], **_names: Any) -> None:
        self.model = Tokenizer(Path(vocab_file).expanduser(), self.family)
        self.vocab_file = os.fspath(vocab_file)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], **_names: Any) -> ChatGLM2Tokenizer:
        """The tokenizer of a bundle, or of a folder with tokenizer.model."""
        folder = Path(name).expanduser()
        path = folder / _FILE
        return cls(path if path.is_file() else _bundle_tokenizer(locate_bundle(name))[0])

    @property
    def eos_token_id(self) -> int:
        """The id that ends a text."""
        return self.model.eos_id

    @property
    def vocab_size(self) -> int:
        """How many ids exist, special tokens included."""
        return self.model.num_ids

    def encode(self, text: str, add_special_tokens: bool = True, **_options: Any) -> list[int]:
        """Ids of a text, [gMASK] sop before it unless told otherwise."""
        return self.model.prompt_ids(text) if add_special_tokens else self.model.encode(text)

    def __call__(
        self,
        text: str | Sequence[str],
        add_special_tokens: bool = True,
        padding: bool = False,
        return_tensors: str | None = None,
        **_options: Any,
    ) -> BatchEncoding:
        """Encode a text, or several.

        Returns:
            input_ids and attention_mask: lists for one text, lists of lists for several (of one
            length with `padding`); NumPy arrays [n, length] with return_tensors="np".
        """
        if isinstance(text, str):
            ids: list[Any] = self.encode(text, add_special_tokens)
            return self._encoding(ids if return_tensors is None else [ids], return_tensors)
        rows = [self.encode(item, add_special_tokens) for item in text]
        if padding or return_tensors is not None:
            return self._encoding(rows, return_tensors, max(map(len, rows), default=0))
        return self._encoding(rows, None)

    def _encoding(
        self, ids: list[Any], return_tensors: str | None, length: int = 0
    ) -> BatchEncoding:
        if return_tensors not in (None, "np"):
            raise ConfigError(
                "return_tensors is {found!r}; it must be None or 'np'.", found=return_tensors
            )
        mask: list[Any]
        if ids and isinstance(ids[0], list):
            mask = [[1] * len(row) + [0] * (length - len(row)) for row in ids]
            ids = [row + [self.pad_token_id] * (length - len(row)) for row in ids]
        else:
            mask = [1] * len(ids)
        if return_tensors is None:
            return BatchEncoding(input_ids=ids, attention_mask=mask)
        return BatchEncoding(
            input_ids=np.array(ids, np.int32), attention_mask=np.array(mask, np.int32)
        )

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, **_options: Any
    ) -> str | list[str]:
        """The text of ids; for several rows of them, a list of texts."""
        if len(token_ids) and np.ndim(token_ids[0]):
            return [self._text(row, skip_special_tokens) for row in token_ids]
        return self._text(token_ids, skip_special_tokens)

    def batch_decode(self, rows: Iterable[Any], skip_special_tokens: bool = False) -> list[str]:
        """The texts of several rows of ids."""
        return [self._text(row, skip_special_tokens) for row in rows]

    def _text(self, ids: Iterable[Any], skip_special_tokens: bool) -> str:
        return self.model.decode([int(token) for token in ids])

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            # An AttributeError, for programs ask with hasattr whether a tokenizer has roles.
            if name in ("build_chat_input", "build_batch_input"):
                problem = _(
                    "{name} is of ChatGLM3Tokenizer; this is a ChatGLM2, whose prompts are text: "
                    "tokenizer(tokenizer.build_prompt(query, history)).",
                    name=name,
                )
                raise AttributeError(problem)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def build_prompt(self, query: str, history: Sequence[tuple[str, str]] | None = None) -> str:
        r"""`[Round i]\n\n问：{question}\n\n答：{answer}\n\n` for past rounds, then the query."""
        rounds = [*(history or ()), (query, None)]
        parts = [
            f"[Round {i}]\n\n问：{question}\n\n答：" + ("" if answer is None else f"{answer}\n\n")
            for i, (question, answer) in enumerate(rounds, 1)
        ]
        return "".join(parts)


class ChatGLM3Tokenizer(ChatGLM2Tokenizer):
    """MindFormers' ChatGLM3Tokenizer: the same, with roles.

    `decode` writes the role tokens out unless told to skip them, as MindFormers does, so that a
    reply can be split at <|assistant|>.
    """

    family: Family = "glm3"

    def _text(self, ids: Iterable[Any], skip_special_tokens: bool) -> str:
        return self.model.decode(
            [int(token) for token in ids], show_special=not skip_special_tokens
        )

    def build_chat_input(
        self,
        query: str,
        history: Sequence[Mapping[str, Any]] | None = None,
        role: str = "user",
    ) -> BatchEncoding:
        """Ids of a conversation and a new message of any role, up to where the reply begins.

        Returns:
            input_ids and attention_mask, int32 [1, length].

        Raises:
            TokenizerError: a message is malformed.
        """
        return self.build_batch_input([query], [history], [role])

    def build_batch_input(
        self,
        queries: str | Sequence[str],
        histories: Sequence[Sequence[Mapping[str, Any]] | None] | None = None,
        roles: str | Sequence[str] = "user",
    ) -> BatchEncoding:
        """The same for several conversations, padded at the end to one length."""
        texts = [queries] if isinstance(queries, str) else list(queries)
        histories = [None] * len(texts) if histories is None else histories
        roles = [roles] * len(texts) if isinstance(roles, str) else roles
        if not len(texts) == len(histories) == len(roles):
            raise ConfigError(
                "There are {queries} queries, {histories} histories and {roles} roles; each query "
                "needs one of both.",
                queries=len(texts),
                histories=len(histories),
                roles=len(roles),
            )
        rows = [
            self._conversation([*(history or ()), {"role": role, "content": query}])
            for query, history, role in zip(texts, histories, roles, strict=True)
        ]
        return self._encoding(rows, "np", max(map(len, rows), default=0))

    def _conversation(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        template = self.model.template
        assert isinstance(template, Glm3Template)  # noqa: S101 - by the family
        ids = list(self.model.prefix_ids)
        for turn in check_messages(messages):
            ids += template.message_ids(turn)
        return [*ids, self.model.special_ids["<|assistant|>"]]


class AutoTokenizer:
    """`from_pretrained` alone."""

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], **_names: Any) -> ChatGLM2Tokenizer:
        """The tokenizer of a bundle, by its family.

        Args:
            name: the bundle's folder, or a name that stands for one; see `glmlite.compat.locate`.

        Raises:
            TokenizerError: a plain folder does not tell the family; or the bundle has none.
        """
        folder = Path(name).expanduser()
        if not is_bundle(folder) and (folder / _FILE).is_file():
            raise TokenizerError(
                "{folder} is no bundle, so it does not tell whose prompts its tokenizer writes.",
                hint="Say it: ChatGLM2Tokenizer({folder!r} + '/tokenizer.model') or "
                "ChatGLM3Tokenizer(…).",
                folder=str(folder),
            )
        path, family = _bundle_tokenizer(locate_bundle(name))
        return ChatGLM3Tokenizer(path) if family == "glm3" else ChatGLM2Tokenizer(path)


def _bundle_tokenizer(folder: Path) -> tuple[Path, str]:
    bundle = Bundle.open(folder)
    if bundle.tokenizer_path is None:
        raise TokenizerError(
            "The bundle {path} has no tokenizer, so it takes and gives token ids only.",
            hint="Export it again with --set model.tokenizer=FILE, or feed ids from Python.",
            path=str(bundle.path),
        )
    return bundle.tokenizer_path, bundle.manifest.family
