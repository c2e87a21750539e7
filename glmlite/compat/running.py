"""A bundle, or two bare graphs, with an engine: what MindFormers' calls run on."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from pathlib import Path

from glmlite.bundle import Bundle
from glmlite.bundle.contents import check_special_ids
from glmlite.errors import TokenizerError
from glmlite.i18n import _
from glmlite.runtime.engines import (
    EngineOptions,
    OpenedEngine,
    choose_engine,
    choose_for_onnx,
    open_engine,
)
from glmlite.runtime.engines.bare import choose_for_pair, open_pair, read_pair
from glmlite.runtime.engines.interpreter import Interpreter, find_toolchain
from glmlite.runtime.generation import Piece, generate
from glmlite.runtime.sampling import Sampler, SamplingParams
from glmlite.runtime.session import Session
from glmlite.text import Tokenizer, check_tokenizer


class Running:
    """An opened model that continues ids.

    Args:
        opened: the engine.
        tokenizer: None: ids only.
        path: of the bundle, or of the prefill graph.

    Attributes:
        capacity: tokens that prompt and answer may have together.
    """

    def __init__(self, opened: OpenedEngine, tokenizer: Tokenizer | None, path: Path) -> None:
        self.tokenizer = tokenizer
        self.path = path
        self.engine_name, self.engine_reason = opened.name, opened.reason
        self._engine = opened.engine
        self._session: Session | None = None
        self.capacity = opened.engine.spec.capacity

    def continue_ids(
        self, ids: Sequence[int], *, max_new_tokens: int, params: SamplingParams
    ) -> Generator[Piece, None, None]:
        """Answer a prompt of ids; what it has in common with the last one is not fed again.

        Raises:
            CacheFullError, EngineError, ConfigError: as in `glmlite.runtime.generation.generate`.
        """
        if self._session is None:
            self._session = Session(self._engine)
        tokenizer = self.tokenizer
        sampler = Sampler(
            params,
            self._engine.spec.vocab_size,
            num_ids=tokenizer.num_ids if tokenizer else None,
            banned=tokenizer.never_sampled if tokenizer else (),
        )
        return generate(
            self._session,
            ids,
            sampler=sampler,
            max_new_tokens=max_new_tokens,
            stop_ids=tokenizer.stop_ids if tokenizer else (),
        )

    def require_tokenizer(self) -> Tokenizer:
        """The tokenizer.

        Raises:
            TokenizerError: there is none.
        """
        if self.tokenizer is None:
            raise TokenizerError(
                "{path} comes without a tokenizer.",
                hint="Name one: --tokenizer_path tokenizer.model",
                path=str(self.path),
            )
        return self.tokenizer

    def close(self) -> None:
        """Free the engine; a second call does nothing."""
        self._session = None
        self._engine.close()


def open_running(
    bundle: Path,
    *,
    engine: str = "auto",
    options: EngineOptions | None = None,
    tokenizer: Path | None = None,
) -> tuple[Running, list[str]]:
    """Open a bundle.

    Args:
        bundle: its folder.
        engine: as in `glmlite.load`.
        options: what the chosen engine does not have is left out.
        tokenizer: in place of the bundle's own.

    Returns:
        The model, and remarks on options that were left out.

    Raises:
        GlmliteError: of the kind that fits.
    """
    options = options or EngineOptions()
    opened = Bundle.open(bundle)
    path = tokenizer or opened.tokenizer_path
    found = Tokenizer(path, opened.manifest.family) if path else None
    if found and tokenizer is None:
        check_special_ids(opened.manifest, found.special_ids)
    if found:
        check_tokenizer(found, opened.manifest.model.vocab_size)
    name, reason, interpreter = engine, None, None
    if engine == "auto" and any(graph.format == "onnx" for graph in opened.manifest.graphs):
        name, reason = choose_for_onnx()
    elif engine not in ("onnx", "reference"):
        interpreter = find_toolchain(options.toolchain)
        if engine == "auto":
            name, reason = choose_engine(opened, interpreter)
    options, remarks = fit_options(options, name, interpreter)
    running = open_engine(opened, name, options)
    if reason:
        running = dataclasses.replace(running, reason=reason)
    return Running(running, found, opened.path), remarks


def open_bare(
    prefill: Path,
    decode: Path,
    *,
    engine: str = "auto",
    options: EngineOptions | None = None,
    tokenizer: Tokenizer | None = None,
) -> tuple[Running, list[str]]:
    """Open two bare graphs; see `open_running`."""
    options = options or EngineOptions()
    pair = read_pair(prefill, decode)
    interpreter = find_toolchain(options.toolchain)
    name, reason = engine, None
    if engine == "auto":
        name, reason = choose_for_pair(pair, interpreter)
    options, remarks = fit_options(options, name, interpreter)
    if tokenizer:
        check_tokenizer(tokenizer, pair.prefill.vocab_size)
    running = open_pair(pair, name, options)
    if reason:
        running = dataclasses.replace(running, reason=reason)
    return Running(running, tokenizer, prefill), remarks


def fit_options(
    options: EngineOptions, engine: str, interpreter: Interpreter | None
) -> tuple[EngineOptions, list[str]]:
    """`options` without what has no meaning for an engine, and a sentence for each.

    MindFormers' scripts name a device and an ini file always; glmlite's own options are refused
    where they have no effect.
    """
    on_ascend = engine == "lite" and interpreter is not None and interpreter.ascend
    if on_ascend:
        return options, []
    remarks = []
    if options.engine_config:
        remarks.append(
            _(
                "{config}: not read; it configures MindSpore Lite on Ascend, and this is the "
                "engine {engine} on a CPU.",
                config=options.engine_config,
                engine=engine,
            )
        )
    if options.device_id or options.rank_id:
        remarks.append(
            _(
                "device_id {device}, rank_id {rank}: this is the engine {engine} on a CPU.",
                device=options.device_id,
                rank=options.rank_id,
                engine=engine,
            )
        )
    return dataclasses.replace(options, engine_config=None, device_id=0, rank_id=0), remarks
