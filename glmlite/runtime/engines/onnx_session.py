"""Opening a graph in ONNX Runtime: its version, its threads, its settings."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glmlite.bundle.onnx_file import OnnxFile
from glmlite.errors import EngineError
from glmlite.runtime.chunks import LARGEST_DYNAMIC_CHUNK
from glmlite.runtime.engines.interrupts import interrupt_deferred
from glmlite.runtime.engines.mapped_weights import MappedWeights, can_give_back
from glmlite.runtime.engines.versions import version_key
from glmlite.runtime.threads import default_threads

# The first one whose MatMulNBits takes 8 bits on a CPU.
MINIMUM = "1.22"
_PROVIDERS = ["CPUExecutionProvider"]
# The first one that lets Python's other threads run while it opens a graph.
_LETS_THREADS_RUN = "1.31"
_PARALLEL = "session.prepack.enable_parallel"
# Of ONNX Runtime's log: what it throws is told in our own words.
_FATAL = 4


@dataclasses.dataclass(frozen=True)
class OnnxSettings:
    """What `glmlite tune` finds out, besides the number of threads.

    Attributes:
        prefill_chunk: tokens of a prompt that are fed at once.
        spinning: threads without work wait for the next product in a loop, not asleep.
    """

    prefill_chunk: int = LARGEST_DYNAMIC_CHUNK
    spinning: bool = True


def installed_version() -> str | None:
    """ONNX Runtime's version in this interpreter, None where there is none; imports nothing."""
    try:
        return importlib.metadata.version("onnxruntime")
    except importlib.metadata.PackageNotFoundError:
        return None


def import_onnxruntime() -> Any:
    """The package.

    Raises:
        EngineError: it is missing, broken, or too old.
    """
    try:
        with interrupt_deferred():
            import onnxruntime
    except ImportError as error:
        raise EngineError(
            "The engine onnx needs ONNX Runtime, which cannot be imported: {error}",
            hint="pip install 'glmlite[onnx]'",
            error=str(error),
        ) from error
    found = str(onnxruntime.__version__)
    if version_key(found) < version_key(MINIMUM):
        raise EngineError(
            "The engine onnx needs ONNX Runtime {minimum} or newer; this one is {found}.",
            hint="pip install -U 'onnxruntime>={minimum}'",
            minimum=MINIMUM,
            found=found,
        )
    onnxruntime.set_default_logger_severity(_FATAL)
    return onnxruntime


def open_session(
    path: Path, threads: int | None, spinning: bool = True, file: OnnxFile | None = None
) -> Any:
    """An `InferenceSession` of a graph that was checked (`check_onnx_graphs`).

    Weights are mapped from the bundle's file; those that ONNX Runtime rearranges for its kernels
    are in memory once, rearranged.

    Args:
        path: of the graph.
        threads: that share a product; None: one for each core.
        spinning: see `OnnxSettings`.
        file: what the graph says of itself; None: ONNX Runtime maps the weights, and rearranges
            them on one thread.

    Raises:
        EngineError: ONNX Runtime is missing, or refuses the graph.
    """
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or default_threads()
    options.inter_op_num_threads = 1
    # Planned memory is kept for every length of a prompt that was met, and saves no time.
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    options.log_severity_level = _FATAL
    try:
        with contextlib.ExitStack() as stack:
            name = stack.enter_context(_in_unicode(path))
            weights = None
            if file is not None and _can_give_back(onnxruntime):
                weights = MappedWeights(path.parent, file, onnxruntime)
                for tensor, value in weights.values.items():
                    options.add_initializer(tensor, value)
                on_all = stack.enter_context(weights.giving_back())
                options.add_session_config_entry(_PARALLEL, str(int(on_all)))
            session = onnxruntime.InferenceSession(name, options, providers=_PROVIDERS)
        session.weights = weights  # it only points at them
        return session
    except Exception as error:
        raise EngineError(
            "ONNX Runtime {version} does not open {path}: {error}",
            hint="A newer ONNX Runtime may: pip install -U onnxruntime",
            version=onnxruntime.__version__,
            path=str(path),
            error=first_words(error),
        ) from error


def _can_give_back(onnxruntime: Any) -> bool:
    """Whether pages can be given back while this ONNX Runtime opens a graph."""
    runs = version_key(str(onnxruntime.__version__)) >= version_key(_LETS_THREADS_RUN)
    return runs and can_give_back()


@contextlib.contextmanager
def _in_unicode(path: Path) -> Iterator[str]:
    """A name of a file that ONNX Runtime can be told; it takes Unicode only.

    Folders may be named in another encoding, such as GBK. The system then knows the open folder by
    a name of plain letters, too.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            yield f"/proc/self/fd/{folder}/{path.name}"
        finally:
            os.close(folder)
    else:
        yield str(path)


def first_words(error: BaseException) -> str:
    """The beginning of a backend's message, on one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
