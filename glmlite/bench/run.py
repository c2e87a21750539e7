"""`glmlite bench` without the command line: open a bundle, measure, report."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time

import glmlite
from glmlite.bench.bandwidth import faster, measure_bandwidth
from glmlite.bench.counting import CountingEngine
from glmlite.bench.measure import Bench
from glmlite.bench.memory import forget_peak, read_memory
from glmlite.bench.options import BenchOptions
from glmlite.bench.report import BenchReport, ContextPoint, Machine, Settings, Subject
from glmlite.bundle import Bundle
from glmlite.bundle.contents import read_index
from glmlite.i18n import _
from glmlite.model.parameters import EMBEDDING
from glmlite.progress import NoProgress, Progress
from glmlite.runtime.engines import EngineOptions, OpenedEngine, open_engine
from glmlite.runtime.host import inspect_host
from glmlite.runtime.model import open_tokenizer
from glmlite.text import Tokenizer
from glmlite.toolchain.quantized import PREFILL
from glmlite.toolchain.weights import WeightsIndex


def run_bench(
    bundle: str | os.PathLike[str],
    engine: str = "auto",
    engine_options: EngineOptions | None = None,
    options: BenchOptions | None = None,
    progress: Progress | None = None,
) -> BenchReport:
    """Measure a bundle.

    Ctrl-C ends the measuring, not the report: what was measured until then is in it.

    Args:
        bundle: its folder.
        engine: a name, see `glmlite.runtime.engines.ENGINES`.
        engine_options: how the engine runs.
        options: what is measured.
        progress: told of every stage.

    Raises:
        GlmliteError: the bundle or the engine cannot be opened, or the options do not fit them.
    """
    engine_options = engine_options or EngineOptions()
    options, progress = options or BenchOptions(), progress or NoProgress()
    try:
        progress.stage(_("Opening the bundle"))
        forget_peak()
        started = time.perf_counter()
        opened_bundle = Bundle.open(bundle)
        tokenizer = open_tokenizer(opened_bundle)
        opened = open_engine(opened_bundle, engine, engine_options)
        try:
            loaded = time.perf_counter() - started
            return _measure(
                opened_bundle, tokenizer, opened, engine_options, options, loaded, progress
            )
        finally:
            opened.engine.close()
    finally:
        progress.done()


def _measure(
    bundle: Bundle,
    tokenizer: Tokenizer | None,
    opened: OpenedEngine,
    engine_options: EngineOptions,
    options: BenchOptions,
    loaded: float,
    progress: Progress,
) -> BenchReport:
    spec = opened.engine.spec
    options.check_fit(spec.capacity, spec.batch_size)
    prompt, new = options.lengths(spec.capacity)
    settings = Settings(
        prompt, new, options.repeats, options.batch, engine_options.threads, options.seed
    )
    report = BenchReport(_subject(bundle, opened), _machine(), settings, load_seconds=loaded)
    counting = CountingEngine(opened.engine)
    bench = Bench(counting, tokenizer, options.seed, progress.advance)
    try:
        _fill(report, bench, options, spec.capacity, progress)
    except KeyboardInterrupt:
        report.interrupted = True
    report.memory = read_memory(getattr(opened.engine, "worker_pid", None))
    report.calls = counting.calls
    return report


def _fill(
    report: BenchReport, bench: Bench, options: BenchOptions, capacity: int, progress: Progress
) -> None:
    """Measure one thing after the other; each is in the report as soon as it is known."""
    settings = report.settings
    threads = settings.threads or report.machine.cores
    if options.bandwidth:
        progress.stage(_("Measuring the read bandwidth"))
        report.bandwidth = measure_bandwidth(threads)
    progress.stage(_("Warming up"))
    report.warm_up_seconds = bench.warm_up(settings.prompt_tokens)
    progress.stage(_("Measuring answers"), options.repeats, _("answers"))
    report.answers = bench.answers(settings.prompt_tokens, settings.new_tokens, options.repeats)
    contexts = options.fitting_contexts(capacity)
    if contexts:
        progress.stage(_("Measuring longer and longer contexts"), len(contexts), _("contexts"))

        def add(point: ContextPoint) -> None:
            report.contexts += (point,)

        bench.context_points(contexts, add)
    conversation = options.conversation(capacity)
    if conversation:
        progress.stage(_("Measuring a second turn"))
        report.second_turn = bench.second_turn(*conversation, options.repeats)
    if options.batch > 1:
        progress.stage(_("Measuring a batch"))
        report.batch = bench.batch(options.batch, settings.prompt_tokens, settings.new_tokens)
    if report.bandwidth:
        # Neighbours on the machine come and go: the ceiling is the better of before and after.
        progress.stage(_("Measuring the read bandwidth"))
        report.bandwidth = faster(report.bandwidth, measure_bandwidth(threads))


def decode_bytes(index: WeightsIndex) -> int:
    """Bytes of the weights that one new token needs: all, but of the embedding one row.

    A second set of weights, which prefill alone reads, is left out.
    """
    total = 0
    for name, entry in index.tensors.items():
        if name.startswith(EMBEDDING):
            total += int(entry["nbytes"]) // int(entry["shape"][0])
        elif not name.startswith(PREFILL):
            total += int(entry["nbytes"])
    return total


def _subject(bundle: Bundle, opened: OpenedEngine) -> Subject:
    manifest = bundle.manifest
    index = read_index(bundle.path / manifest.weights.index)
    return Subject(
        path=str(bundle.path),
        family=manifest.family,
        layers=manifest.model.num_layers,
        hidden_size=manifest.model.hidden_size,
        quantization=manifest.weights.quantization,
        weights_bytes=sum(int(entry["nbytes"]) for entry in index.tensors.values()),
        decode_bytes=decode_bytes(index),
        capacity=opened.engine.spec.capacity,
        engine=opened.name,
        engine_reason=opened.reason,
        versions=_versions(opened),
    )


def _versions(opened: OpenedEngine) -> dict[str, str]:
    versions = {"glmlite": glmlite.__version__, "python": platform.python_version()}
    backend = getattr(opened.engine, "version", None)
    package = {"onnx": "onnxruntime", "reference": "numpy"}.get(opened.name, opened.name)
    versions[package] = backend or importlib.metadata.version(package)
    return versions


def _machine() -> Machine:
    host = inspect_host()
    return Machine(host.system, host.cpu, host.cores, host.cpu_features, host.memory_total)
