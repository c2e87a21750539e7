"""Engines: the backends that run a bundle's graphs, behind one contract (`base.Engine`)."""

from __future__ import annotations

import dataclasses

from glmlite.bundle import Bundle
from glmlite.bundle.contents import check_graphs
from glmlite.errors import EngineError
from glmlite.i18n import _
from glmlite.runtime.engines.base import Cache, Engine, EngineSpec
from glmlite.runtime.engines.interpreter import Interpreter, find_toolchain
from glmlite.runtime.engines.options import EngineOptions
from glmlite.runtime.engines.versions import reads_mindir

__all__ = [
    "ENGINES",
    "Cache",
    "Engine",
    "EngineOptions",
    "EngineSpec",
    "OpenedEngine",
    "open_engine",
]

ENGINES = ("auto", "lite", "mindspore", "onnx", "reference")


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
        name: one of `ENGINES`; "auto" takes ONNX Runtime for ONNX graphs; for MindIR it takes
            Lite, else MindSpore, whichever the toolchain has; else the NumPy reference. It says
            why.
        options: how it runs.

    Raises:
        EngineError: the engine is unknown, not installed, or refuses the bundle.
        BundleError: a graph reads weights from elsewhere than the bundle's own file.
    """
    options = options or EngineOptions()
    if name not in ENGINES:
        raise EngineError(
            "There is no engine {name!r}; there are: {known}.", name=name, known=", ".join(ENGINES)
        )
    reason = _("as asked for")
    if name == "auto" and any(graph.format == "onnx" for graph in bundle.manifest.graphs):
        name, reason = choose_for_onnx()
    if name == "onnx":
        from glmlite.runtime.engines.onnx import open_onnx
        from glmlite.tuning.settings import apply_settings

        options, settings, tuned = apply_settings(bundle, options.resolve(name, has_ascend=False))
        reason = f"{reason}; {tuned}" if tuned else reason
        return OpenedEngine(open_onnx(bundle, options, settings), name, reason)
    interpreter = find_toolchain(options.toolchain) if name != "reference" else None
    if name == "auto" and interpreter:
        name, reason = choose_engine(bundle, interpreter)
    if name == "reference" or interpreter is None:
        options.resolve("reference", has_ascend=False)
        return OpenedEngine(_open_reference(bundle), "reference", reason)
    options = options.resolve(name, has_ascend=interpreter.ascend)
    return OpenedEngine(_open_graphs(bundle, name, interpreter, options), name, reason)


def choose_for_onnx() -> tuple[str, str]:
    """What "auto" means for a bundle of ONNX graphs; no toolchain is asked."""
    from glmlite.runtime.engines.onnx_session import installed_version

    version = installed_version()
    if version is not None:
        return "onnx", _("the bundle holds ONNX graphs, and ONNX Runtime {v} is here", v=version)
    return "reference", _(
        "the bundle holds ONNX graphs, and ONNX Runtime is not installed "
        "(pip install 'glmlite[onnx]'); this NumPy engine is slow"
    )


def choose_engine(bundle: Bundle, interpreter: Interpreter) -> tuple[str, str]:
    """What "auto" means for a bundle and a toolchain: the engine's name and the reason."""
    producer, dtype = bundle.manifest.producer.get("mindspore", ""), _casting_dtype(bundle)
    for engine, version in (("lite", interpreter.lite), ("mindspore", interpreter.mindspore)):
        if not version or not reads_mindir(engine, version, producer, dtype):
            continue
        if not _runs_quantized(engine, bundle.manifest.weights.quantization, interpreter):
            continue
        if engine != "lite" and _is_lites_own(bundle):
            continue
        if engine == "lite":
            return engine, _(
                "MindSpore Lite {version} is in {python}",
                version=version,
                python=interpreter.python,
            )
        return engine, _(
            "{python} has MindSpore {version} and no MindSpore Lite that reads this bundle",
            version=version,
            python=interpreter.python,
        )
    return "reference", _(
        "{python} has neither a MindSpore Lite nor a MindSpore that reads this bundle; "
        "this NumPy engine is slow",
        python=interpreter.python,
    )


def _casting_dtype(bundle: Bundle) -> str:
    """The dtype that decides who reads the graphs: portable int8 ones cast, as float16 ones do."""
    weights = bundle.manifest.weights
    return "float16" if weights.quantization.startswith("portable") else weights.dtype


def _runs_quantized(engine: str, scheme: str, interpreter: Interpreter) -> bool:
    """Whether an engine has the kernels for graphs of a quantization scheme."""
    if scheme == "ascend_on_the_fly_int8":
        return engine == "lite" and interpreter.ascend
    if scheme == "lite_dynamic_int8":
        return engine == "lite"
    # Lite casts from uint8, not from int8 (2.0.0); newer ones were not tried.
    return scheme != "portable_int8" or engine == "mindspore"


def _is_lites_own(bundle: Bundle) -> bool:
    """Whether Lite's converter made the graphs, of no MindSpore's: they have its own operators."""
    producer = bundle.manifest.producer
    return "converter" in producer and "mindspore" not in producer


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

    manifest, weights = bundle.manifest, bundle.manifest.weights
    producer, dtype = manifest.producer.get("mindspore", "?"), _casting_dtype(bundle)
    version = interpreter.mindspore
    if name == "mindspore" and version and not reads_mindir(name, version, producer, dtype):
        raise EngineError(
            "MindSpore {version} does not run what MindSpore {producer} exported in {dtype}.",
            hint="Name the interpreter that exported it (--toolchain PATH), or export it again "
            "with this one. `glmlite doctor` lists the pairs that fit.",
            version=version,
            producer=producer,
            dtype=dtype if weights.quantization == "none" else weights.quantization,
        )
    if name == "mindspore" and _is_lites_own(bundle):
        raise EngineError(
            "The graphs of {path} were made by MindSpore Lite's converter ({converter}); "
            "MindSpore does not run them.",
            hint="--engine lite, or --engine reference",
            path=str(bundle.path),
            converter=manifest.producer["converter"],
        )
    graphs = GraphSet(
        folder=bundle.path,
        graphs=[g for g in manifest.graphs if g.format == "mindir"],
        model=manifest.model,
        dtype=weights.dtype,
        prefix_length=manifest.prefix_length,
        prefix_cache=manifest.prefix_cache,
        producer=producer,
        quantized=weights.quantization != "none",
    )
    if all(g.phase == "score" for g in graphs.graphs):
        raise EngineError(
            "The bundle {path} holds no MindIR graph.",
            hint="Run its ONNX graphs (--engine onnx), or export the checkpoint again with "
            "--set export.format=mindir.",
            path=str(bundle.path),
        )
    check_graphs(bundle.path, manifest, graphs.graphs)
    return graphs.open(name, options, None if interpreter.is_current else interpreter.python)
