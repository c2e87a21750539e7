"""`glmlite tune` without the command line: measure, choose, write."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any

from glmlite.bundle import Bundle
from glmlite.errors import BundleError
from glmlite.i18n import _
from glmlite.progress import NoProgress, Progress
from glmlite.runtime.engines.onnx import OnnxEngine, open_onnx
from glmlite.runtime.engines.onnx_session import OnnxSettings, import_onnxruntime
from glmlite.runtime.engines.options import EngineOptions
from glmlite.runtime.threads import default_threads
from glmlite.tuning.choice import Measurement, choose
from glmlite.tuning.measure import Stopwatch
from glmlite.tuning.options import TuneOptions, chunks_for
from glmlite.tuning.settings import TunedSettings, host_identity, to_dict
from glmlite.tuning.store import updating


@dataclasses.dataclass(frozen=True)
class TuneReport:
    """What was measured and chosen.

    Attributes:
        path: the bundle's folder.
        new_tokens: of the answer that decided.
        measurements: in the order in which they were made; the chosen number of threads has the
            untuned chunk twice where chunks were compared, the second time beside the others.
        default: the one that runs untuned.
        best: the chosen one of them.
        settings: what was written, or would have been.
        written: whether it was.
    """

    path: str
    new_tokens: int
    measurements: tuple[Measurement, ...]
    default: Measurement
    best: Measurement
    settings: TunedSettings
    written: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "path": self.path,
            "new_tokens": self.new_tokens,
            "measurements": [found.to_dict() for found in self.measurements],
            "default": self.default.to_dict(),
            "best": self.best.to_dict(),
            "settings": to_dict(self.settings),
            "written": self.written,
        }


def run_tune(
    bundle: str | os.PathLike[str],
    options: TuneOptions | None = None,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> TuneReport:
    """Find the fastest settings of the engine `onnx` for a bundle on this machine, and keep them.

    Threads are tried first, then spinning, then chunks, each with the best of what came before;
    every engine is closed before the next one is opened. The best is what answers a prompt soonest
    (`TuneOptions`); another than the default must be faster by more than noise.

    Args:
        bundle: its folder.
        options: what is measured.
        dry_run: leave the bundle as it is.
        progress: told of every stage.

    Raises:
        BundleError: there is no ONNX bundle, or it cannot be written.
        ConfigError: the options do not fit the bundle.
        EngineError: ONNX Runtime is missing or refuses a graph.
    """
    options, progress = options or TuneOptions(), progress or NoProgress()
    opened = Bundle.open(bundle, retuning=True)
    _require_onnx(opened)
    with contextlib.ExitStack() as stack:
        write = None if dry_run else stack.enter_context(updating(opened))
        stack.callback(progress.done)
        tuner = _Tuner(opened, options, progress)
        default, best = tuner.run()
        settings = _settings(best, options.new_tokens)
        if write is not None:
            write(settings)
    return TuneReport(
        path=str(opened.path),
        new_tokens=options.new_tokens,
        measurements=tuple(tuner.found),
        default=default,
        best=best,
        settings=settings,
        written=write is not None,
    )


class _Tuner:
    """One bundle's measurements, in their order."""

    def __init__(self, bundle: Bundle, options: TuneOptions, progress: Progress) -> None:
        self._bundle, self._options, self._progress = bundle, options, progress
        self.found: list[Measurement] = []

    def run(self) -> tuple[Measurement, Measurement]:
        """The untuned settings' measurement, and the best one."""
        counts, new = self._options.thread_counts(), self._options.new_tokens
        usual = default_threads()
        for threads in counts:
            title = _("Measuring, threads: {threads}", threads=threads)
            with self._open(threads, spinning=True) as engine:
                self.found += self._measure(title, engine, threads, True)
        default = next((m for m in self.found if m.threads == usual), self.found[-1])
        best = choose(default, self.found, new)
        if best.threads > 1:  # a single thread waits for nobody
            title = _("Measuring without spinning")
            with self._open(best.threads, spinning=False) as engine:
                asleep = self._measure(title, engine, best.threads, False)
            self.found += asleep
            best = choose(best, asleep, new)
        if len(chunks_for(best.prompt_tokens)) == 1:
            return default, best
        title = _("Measuring chunks")
        with self._open(best.threads, best.spinning) as engine:
            chunks = self._measure(title, engine, best.threads, best.spinning, best)
        self.found += chunks
        # Measured side by side in one engine, the last is the untuned one; steps do not count.
        return default, choose(chunks[-1], chunks, new_tokens=0)

    @contextlib.contextmanager
    def _open(self, threads: int, spinning: bool) -> Any:
        self._progress.stage(_("Opening the bundle"))
        options = EngineOptions(threads=threads).resolve("onnx", has_ascend=False)
        engine = open_onnx(self._bundle, options, OnnxSettings(spinning=spinning))
        try:
            yield engine
        finally:
            engine.close()

    def _measure(
        self,
        title: str,
        engine: OnnxEngine,
        threads: int,
        spinning: bool,
        chosen: Measurement | None = None,
    ) -> list[Measurement]:
        """All chunks with the decode steps of `chosen`, or the untuned chunk and decode steps."""
        prompt, repeats = self._options.prompt_for(engine.spec.capacity), self._options.repeats
        chunks = chunks_for(prompt) if chosen else chunks_for(prompt)[-1:]
        runs = 1 + repeats * (len(chunks) if chosen else 2)
        self._progress.stage(title, runs, _("runs"))
        watch = Stopwatch(engine, prompt, self._progress.advance)
        watch.warm_up(chunks[-1])
        prefill = watch.prefill(chunks, repeats)
        decode = chosen.decode if chosen else watch.decode(repeats)
        return [
            Measurement(threads, spinning, chunk, prompt, spread, decode)
            for chunk, spread in zip(chunks, prefill, strict=True)
        ]


def _require_onnx(bundle: Bundle) -> None:
    """Refuse a bundle whose graphs have one size each."""
    if not any(graph.format == "onnx" for graph in bundle.manifest.graphs):
        raise BundleError(
            "The bundle {path} holds MindIR graphs, whose chunks are fixed by the export; only "
            "ONNX bundles are tuned.",
            hint="Compare numbers of threads with glmlite bench BUNDLE --threads N, or export "
            "with --set export.format=onnx.",
            path=str(bundle.path),
        )


def _settings(best: Measurement, new_tokens: int) -> TunedSettings:
    cpu, cores = host_identity()
    return TunedSettings(
        cpu=cpu,
        cores=cores,
        threads=best.threads,
        prefill_chunk=best.prefill_chunk,
        spinning=best.spinning,
        prompt_tokens=best.prompt_tokens,
        new_tokens=new_tokens,
        prefill_tokens_per_second=round(best.prompt_tokens / best.prefill.median, 3),
        decode_tokens_per_second=round(1 / best.decode.median, 3),
        onnxruntime=str(import_onnxruntime().__version__),
    )
