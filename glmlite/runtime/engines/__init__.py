"""Engines: the backends that run a bundle's graphs, behind one contract (`base.Engine`)."""

from __future__ import annotations

import dataclasses

from glmlite.bundle import Bundle
from glmlite.errors import EngineError
from glmlite.i18n import _
from glmlite.runtime.engines.base import Cache, Engine, EngineSpec
from glmlite.runtime.engines.interpreter import Interpreter, find_toolchain
from glmlite.runtime.engines.options import EngineOptions

__all__ = [
    "ENGINES",
    "Cache",
    "Engine",
    "EngineOptions",
    "EngineSpec",
    "OpenedEngine",
    "open_engine",
]

ENGINES = ("auto", "lite", "mindspore", "reference")


@dataclasses.dataclass(frozen=True)
class OpenedEngine:
    """An engine, its name, and why it was chosen."""

    engine: Engine
    name: str
    reason: str


def open_engine(
    bundle: Bundle, name: str = "auto", options: EngineOptions | None = None
) -> OpenedEngine:
    """Open a bundle's graphs.

    Args:
        bundle: from `Bundle.open`.
        name: one of `ENGINES`; "auto" takes Lite, else MindSpore, else the NumPy reference,
            whichever the toolchain has, and says why.
        options: how it runs.

    Raises:
        EngineError: the engine is unknown, not installed, or refuses the bundle.
    """
    options = options or EngineOptions()
    if name not in ENGINES:
        raise EngineError(
            "There is no engine {name!r}; there are: {known}.", name=name, known=", ".join(ENGINES)
        )
    reason = _("as asked for")
    if name == "reference":
        return OpenedEngine(_open_reference(bundle), name, reason)
    interpreter = find_toolchain(options.toolchain)
    if name == "auto":
        name, reason = choose_engine(bundle, interpreter)
    if name == "reference":
        return OpenedEngine(_open_reference(bundle), name, reason)
    return OpenedEngine(_open_graphs(bundle, name, interpreter, options), name, reason)


def choose_engine(bundle: Bundle, interpreter: Interpreter) -> tuple[str, str]:
    """What "auto" means for a bundle and a toolchain: the engine's name and the reason."""
    from glmlite.toolchain.lite_backend import max_mindir_version

    newest = max((g.mindir_version or 0 for g in bundle.manifest.graphs), default=0)

    def reads(version: str | None) -> bool:
        # MindSpore and the Lite of the same version read the same MindIR.
        limit = max_mindir_version(version) if version else 0
        return limit is None or newest <= limit

    if interpreter.lite and reads(interpreter.lite):
        return "lite", _(
            "MindSpore Lite {version} is in {python}",
            version=interpreter.lite,
            python=interpreter.python,
        )
    if interpreter.mindspore and reads(interpreter.mindspore):
        return "mindspore", _(
            "{python} has MindSpore {version} and no MindSpore Lite that reads MindIR version "
            "{mindir}",
            version=interpreter.mindspore,
            python=interpreter.python,
            mindir=newest,
        )
    return "reference", _(
        "{python} has neither a MindSpore Lite nor a MindSpore that reads MindIR version {mindir}; "
        "this NumPy engine is slow",
        python=interpreter.python,
        mindir=newest,
    )


def _open_reference(bundle: Bundle) -> Engine:
    from glmlite.runtime.engines.reference import ReferenceEngine

    manifest = bundle.manifest
    return ReferenceEngine(
        manifest.model,
        bundle.weights(),
        prefix=bundle.prefix_cache(),
        batch_size=manifest.graphs[0].batch_size,
        cache_length=max(g.cache_length for g in manifest.graphs),
    )


def _open_graphs(
    bundle: Bundle, name: str, interpreter: Interpreter, options: EngineOptions
) -> Engine:
    from glmlite.runtime.engines.graphs import GraphSet

    manifest = bundle.manifest
    graphs = GraphSet(
        folder=bundle.path,
        graphs=[g for g in manifest.graphs if g.format == "mindir"],
        model=manifest.model,
        dtype=manifest.weights.dtype,
        prefix_length=manifest.prefix_length,
        prefix_cache=manifest.prefix_cache,
        producer=manifest.producer.get("mindspore", "?"),
    )
    if not graphs.graphs:
        raise EngineError("The bundle {path} holds no MindIR graph.", path=str(bundle.path))
    return graphs.open(name, options, None if interpreter.is_current else interpreter.python)
