"""An opened bundle: what a user of the library holds in hand."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from glmlite.bundle import Bundle
from glmlite.bundle.contents import check_special_ids
from glmlite.errors import ConfigError, TokenizerError
from glmlite.runtime.answer_text import StopStrings
from glmlite.runtime.chat import chat
from glmlite.runtime.completion import complete
from glmlite.runtime.engines import EngineOptions, EngineSpec, OpenedEngine, open_engine
from glmlite.runtime.generation import Piece
from glmlite.runtime.ranges import check_ids, check_integer
from glmlite.runtime.sampling import Sampler, SamplingParams
from glmlite.runtime.session import Overflow, Session, check_overflow
from glmlite.runtime.sliding import Message
from glmlite.runtime.speculation import DraftPolicy, Speculate, check_speculate
from glmlite.text import Tokenizer, check_tokenizer

if TYPE_CHECKING:
    from glmlite.text import PromptTemplate

DEFAULT_MAX_NEW_TOKENS = 512


def load(
    path: str | os.PathLike[str],
    engine: str = "auto",
    *,
    toolchain: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    device: str = "auto",
    device_id: int = 0,
    rank_id: int = 0,
    provider: str | None = None,
    engine_config: str | None = None,
) -> Model:
    """Open a bundle and the engine that runs it.

    Args:
        path: the bundle's folder.
        engine: "auto", "lite", "mindspore", "onnx" or "reference"; `Model.engine_reason` says why
            "auto" took what it took.
        toolchain: interpreter that has MindSpore or MindSpore Lite; default: `GLMLITE_TOOLCHAIN`,
            else this one.
        threads: of the engine; None leaves it to the engine.
        device: "cpu" or "ascend" for MindSpore Lite; "auto" takes Ascend where its driver is.
        device_id: Ascend device.
        rank_id: rank of this process among several devices.
        provider: MindSpore Lite's Ascend provider, e.g. "ge"; None leaves it to Lite.
        engine_config: a MindSpore Lite ini file, or "prefill.ini,decode.ini".

    Raises:
        BundleError: the folder is no whole, safe bundle of a known schema.
        TokenizerError: its tokenizer does not fit the model.
        EngineError: the engine is missing or cannot load the graphs.
    """
    bundle = Bundle.open(path)
    tokenizer = open_tokenizer(bundle)
    options = EngineOptions(
        toolchain=toolchain,
        threads=threads,
        device=device,
        device_id=device_id,
        rank_id=rank_id,
        provider=provider,
        engine_config=engine_config,
    )
    return Model(bundle, tokenizer, open_engine(bundle, engine, options))


def open_tokenizer(bundle: Bundle) -> Tokenizer | None:
    """The bundle's tokenizer, or None where it has none.

    Raises:
        BundleError, TokenizerError: it does not fit the model.
    """
    if bundle.tokenizer_path is None:
        return None
    tokenizer = Tokenizer(bundle.tokenizer_path, bundle.manifest.family)
    check_special_ids(bundle.manifest, tokenizer.special_ids)
    check_tokenizer(tokenizer, bundle.manifest.model.vocab_size)
    return tokenizer


class Model:
    """A bundle, its tokenizer and a running engine; a context manager.

    Attributes:
        bundle: what was loaded.
        tokenizer: None where the bundle has none.
        spec: what the engine can run.
        engine_name: e.g. "mindspore".
        engine_reason: a sentence that says why this engine runs.
    """

    def __init__(self, bundle: Bundle, tokenizer: Tokenizer | None, opened: OpenedEngine) -> None:
        self.bundle = bundle
        self.tokenizer = tokenizer
        self.spec: EngineSpec = opened.engine.spec
        self.engine_name = opened.name
        self.engine_reason = opened.reason
        self._engine = opened.engine
        self._spare: Session | None = None
        self._drafts = DraftPolicy()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the engine and every cache; a second call does nothing."""
        self._spare = None
        self._engine.close()

    def session(self, overflow: Overflow = "error") -> Session:
        """A new, empty session; `overflow` is what its answers do when the cache is full."""
        return Session(self._engine, overflow)

    def require_tokenizer(self) -> Tokenizer:
        """The tokenizer.

        Raises:
            TokenizerError: the bundle has none.
        """
        if self.tokenizer is None:
            raise TokenizerError(
                "The bundle {path} has no tokenizer, so it takes and gives token ids only.",
                hint="Export it again with --set model.tokenizer=FILE, or feed ids from Python.",
                path=str(self.bundle.path),
            )
        return self.tokenizer

    def require_template(self) -> PromptTemplate:
        """The chat template of the model's family.

        Raises:
            TokenizerError: there is no tokenizer, or this is a base model.
        """
        return self.require_tokenizer().template

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        session: Session | None = None,
        max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
        stop: str | Sequence[str] = (),
        overflow: Overflow | None = None,
        speculate: Speculate = "auto",
        **sampling: Any,
    ) -> Generator[Piece, None, None]:
        """Continue a text, or ids, without any template.

        Args:
            prompt: text ([gMASK] sop is put before it) or ids as they are.
            session: whose cache is used; default: one of the model's own, which keeps what the
                prompt has in common with the last one.
            max_new_tokens: at most so many tokens are sampled.
            stop: stop strings; the answer ends before the first.
            overflow: "error" or "sliding" (the oldest tokens are dropped, and a notice says so);
                default: the session's.
            speculate: "auto" drafts tokens from repetitions where the bundle has a score graph, it
                pays, and the answer stays the same; "off" never; a number always that many, which
                may change tokens of quantized models.
            **sampling: fields of `SamplingParams`.

        Returns:
            A generator of pieces; closing it early leaves the session usable.

        Raises:
            ConfigError: an argument is out of its range.
            TokenizerError: text, or stop strings, without a tokenizer.
            CacheFullError, EngineError: from the first piece on.
        """
        ids = self.require_tokenizer().prompt_ids(prompt) if isinstance(prompt, str) else prompt
        if stop:
            self.require_tokenizer()
        check_speculate(speculate)
        sampler, policy = self._check(session, max_new_tokens, stop, overflow, sampling)
        prompt_ids = check_ids(ids, self.spec.vocab_size).tolist()

        def run() -> Generator[Piece, None, None]:
            with self._borrow(session) as used:
                yield from complete(
                    used,
                    prompt_ids,
                    tokenizer=self.tokenizer,
                    sampler=sampler,
                    max_new_tokens=max_new_tokens,
                    stop=stop,
                    overflow=policy,
                    speculate=speculate,
                    policy=self._drafts,
                )

        return run()

    def chat(
        self,
        messages: Sequence[Message],
        *,
        session: Session | None = None,
        max_new_tokens: int = DEFAULT_MAX_NEW_TOKENS,
        stop: str | Sequence[str] = (),
        overflow: Overflow | None = None,
        speculate: Speculate = "auto",
        **sampling: Any,
    ) -> Generator[Piece, None, None]:
        """Reply to a conversation; see `glmlite.runtime.chat.chat` and `generate`.

        Args:
            messages: dicts with role and content, optionally metadata and tools. All of them are
                given in every call; what the session's cache already holds is not fed again.
            session: of this conversation; default: one of the model's own, which remembers the last
                conversation.
            max_new_tokens: at most so many tokens are sampled.
            stop: stop strings, besides the family's stop tokens.
            overflow: "error" or "sliding" (the oldest rounds are dropped, and a notice says so);
                default: the session's.
            speculate: "auto" drafts tokens from repetitions where the bundle has a score graph, it
                pays, and the answer stays the same; "off" never; a number always that many, which
                may change tokens of quantized models.
            **sampling: fields of `SamplingParams`.

        Returns:
            A generator of pieces; the last one has the messages to append in `reply`.

        Raises:
            TokenizerError: no tokenizer, a base model, or (at the first piece) malformed messages.
            ConfigError, CacheFullError, EngineError: as in `generate`.
        """
        tokenizer = self.require_tokenizer()
        self.require_template()
        check_speculate(speculate)
        sampler, policy = self._check(session, max_new_tokens, stop, overflow, sampling)

        def run() -> Generator[Piece, None, None]:
            with self._borrow(session) as used:
                yield from chat(
                    used,
                    messages,
                    tokenizer=tokenizer,
                    sampler=sampler,
                    max_new_tokens=max_new_tokens,
                    stop=stop,
                    overflow=policy,
                    speculate=speculate,
                    policy=self._drafts,
                )

        return run()

    def _check(
        self,
        session: Session | None,
        max_new_tokens: int,
        stop: str | Sequence[str],
        overflow: Overflow | None,
        sampling: Mapping[str, Any],
    ) -> tuple[Sampler, Overflow]:
        """Refuse wrong arguments at the call, not at the first piece."""
        if not isinstance(session, Session | None):
            raise ConfigError("session is {found!r}; Model.session() makes one.", found=session)
        check_integer("max_new_tokens", max_new_tokens, 1)
        StopStrings(stop)
        policy = check_overflow(overflow or ("error" if session is None else session.overflow))
        tokenizer = self.tokenizer
        return Sampler(
            SamplingParams.from_options(sampling),
            self.spec.vocab_size,
            num_ids=tokenizer.num_ids if tokenizer else None,
            banned=tokenizer.never_sampled if tokenizer else (),
        ), policy

    @contextlib.contextmanager
    def _borrow(self, given: Session | None) -> Iterator[Session]:
        """`given`, or a session of the model's own that nobody else uses at the time."""
        if given is not None:
            yield given
            return
        session = self.session() if self._spare is None else self._spare
        self._spare = None
        try:
            yield session
        finally:
            self._spare = session
