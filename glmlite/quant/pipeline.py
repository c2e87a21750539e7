"""`glmlite quantize`: a float bundle in, a quantized bundle and its accuracy out."""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path

import glmlite
from glmlite.bundle import Bundle
from glmlite.bundle.accuracy import AccuracyEntry
from glmlite.bundle.manifest import GraphEntry, Manifest, ParityEntry, WeightsEntry
from glmlite.bundle.store import check_output, describe_files, publish, staging
from glmlite.bundle.weights import BundleWeights
from glmlite.disk import check_space
from glmlite.errors import ExportError
from glmlite.exporter.weights import INDEX, WEIGHTS
from glmlite.i18n import _
from glmlite.progress import NoProgress, Progress
from glmlite.quant.accuracy import Candidate, measure
from glmlite.quant.bar import check_bar, require_text
from glmlite.quant.conversion import convert_graphs
from glmlite.quant.converter import find_converter
from glmlite.quant.job import Job, QuantizeReport
from glmlite.quant.output import check_apart, rounded_bytes
from glmlite.quant.portable import choose_integer, compare, export_portable
from glmlite.quant.process import Log
from glmlite.quant.report import REPORT, write_report
from glmlite.quant.sample import Sample
from glmlite.quant.sharing import share_weights
from glmlite.quant.weights import Integer, QuantizedSource, stored_bytes, write_quantized
from glmlite.runtime.engines.interpreter import find_toolchain
from glmlite.runtime.engines.versions import reads_mindir
from glmlite.toolchain.weights import WeightsIndex


@dataclasses.dataclass(frozen=True)
class _Made:
    """New graphs and weights in a staging folder."""

    graphs: tuple[GraphEntry, ...]
    index: WeightsIndex
    scheme: str
    producer: dict[str, str]
    parity: tuple[ParityEntry, ...] = ()


def measure_only(job: Job, progress: Progress | None = None) -> AccuracyEntry:
    """What the recipe would cost, without converting or writing anything.

    Raises:
        ConfigError: the text cannot be used.
    """
    progress = progress or NoProgress()
    weights, sample = job.bundle.weights(), job.sample()
    if job.options.max_ppl_increase is not None:
        require_text(sample)
    try:
        (report,) = measure(
            job.bundle.manifest.model,
            weights,
            [Candidate(job.recipe.name, QuantizedSource(weights, job.names))],
            sample,
            progress,
            job.bundle.prefix_cache(),
        )
        return report.entry
    finally:
        progress.done()


def run_quantize(
    job: Job, output: Path, *, progress: Progress | None = None, log: Log | None = None
) -> QuantizeReport:
    """Quantize a bundle.

    Args:
        job: what, and how.
        output: folder of the new bundle.
        progress: told of every stage.
        log: gets the converter's lines, from another thread.

    Raises:
        GlmliteError: of the kind that fits; nothing is left at the output or beside it.
    """
    started = time.monotonic()
    progress, log = progress or NoProgress(), log or (lambda line: None)
    output = output.expanduser().absolute()
    check_apart(job.bundle.path, output)
    check_output(output, job.options.overwrite)
    sample = job.sample()
    if job.options.max_ppl_increase is not None:
        require_text(sample)
    try:
        with staging(output, job.options.overwrite) as folder:
            check_space(folder, _least_bytes(job), _("Quantizing"))
            _copy_along(job.bundle, folder)
            if job.options.portable:
                made = _portable(job, folder, progress)
            elif job.recipe.kind == "ascend":
                made = _ascend(job, folder, progress, log)
            else:
                made = _lite_cpu(job, folder, progress, log)
            manifest = _describe(job, folder, made, sample, progress)
            publish(folder, manifest.to_json(), output)
    except OSError as error:
        raise ExportError(
            "The bundle could not be written to {path}: {error}. Nothing was kept.",
            hint="Free some space or name another --output.",
            path=str(output),
            error=error.strerror or str(error),
        ) from error
    finally:
        progress.done()
    before = sum(entry.size for entry in job.bundle.manifest.files.values())
    return QuantizeReport(output, manifest, before, time.monotonic() - started)


def _least_bytes(job: Job) -> int:
    """One set of weights. A converter's graphs hold more, how much more only it knows."""
    manifest = job.bundle.manifest
    dtype = "float32" if job.options.portable else manifest.weights.dtype
    return rounded_bytes(manifest.model, job.names, dtype)


def _copy_along(bundle: Bundle, folder: Path) -> None:
    """Tokenizer and prefix stay as they are."""
    tokenizer = bundle.manifest.tokenizer
    for name in (tokenizer.file if tokenizer else None, bundle.manifest.prefix_cache):
        if name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path / name, folder / name)


def _write(
    job: Job, folder: Path, integer: Integer, dtype: str | None, progress: Progress
) -> WeightsIndex:
    source = job.bundle.weights()
    progress.stage(_("Quantizing the weights"), len(source.shapes()), _("tensors"))
    return write_quantized(
        source, job.bundle.manifest.model, job.names, integer, dtype, folder / WEIGHTS, progress
    )


def _ascend(job: Job, folder: Path, progress: Progress, log: Log) -> _Made:
    """The converter's graphs, and the same numbers for the reference and the report."""
    options = job.options
    converter = find_converter(job.recipe, options.converter, options.toolchain)
    graphs = convert_graphs(
        job.bundle, job.recipe, converter, job.names, folder, options.timeout, progress, log
    )
    index = _write(job, folder, "int8", None, progress)
    return _Made(graphs, index, "ascend_on_the_fly_int8", {"converter": converter.version})


def _lite_cpu(job: Job, folder: Path, progress: Progress, log: Log) -> _Made:
    """Lite's own graphs for the CPU; run once, since they are new to everybody."""
    options = job.options
    converter = find_converter(job.recipe, options.converter, options.toolchain)
    interpreter = find_toolchain(options.toolchain)
    if converter.root is None:
        _check_readable(job.bundle, interpreter.lite or "")
    graphs = convert_graphs(
        job.bundle, job.recipe, converter, job.names, folder, options.timeout, progress, log
    )
    source = job.bundle.weights()
    index = share_weights(folder, [g.file for g in graphs], job.bundle.manifest.model, source)
    engines = [("lite", interpreter.lite)] if interpreter.lite else []
    parity = compare(job.bundle, folder, graphs, engines, interpreter, progress, refuse=False)
    producer = {"converter": converter.version}
    return _Made(graphs, index, "lite_dynamic_int8", producer, parity)


def _check_readable(bundle: Bundle, version: str) -> None:
    """Say it before Lite's converter does, whose log does not say what to do."""
    manifest = bundle.manifest
    producer = manifest.producer.get("mindspore", "")
    if not reads_mindir("lite", version, producer, manifest.weights.dtype):
        raise ExportError(
            "MindSpore {producer} exported the graphs of {path}; MindSpore Lite {version} cannot "
            "read them.",
            hint="Export again with a MindSpore no newer than this Lite: "
            "glmlite export … --toolchain .toolchain/bin/python",
            producer=producer,
            path=str(bundle.path),
            version=version,
        )


def _portable(job: Job, folder: Path, progress: Progress) -> _Made:
    """Graphs of our own network over integers."""
    interpreter = find_toolchain(job.options.toolchain)
    integer = job.options.integer or choose_integer(interpreter)
    index = _write(job, folder, integer, "float32", progress)
    graphs = export_portable(job.bundle, folder, interpreter, progress)
    engines = [("mindspore", interpreter.mindspore)]
    if interpreter.lite and integer == "uint8":
        engines.append(("lite", interpreter.lite))
    parity = compare(job.bundle, folder, graphs, engines, interpreter, progress, refuse=True)
    producer = {"mindspore": interpreter.mindspore or "", "python": interpreter.version}
    return _Made(graphs, index, f"portable_{integer}", producer, parity)


def _describe(job: Job, folder: Path, made: _Made, sample: Sample, progress: Progress) -> Manifest:
    """Measure the accuracy, hash every file, and write it all down."""
    old = job.bundle.manifest
    (report,) = measure(
        old.model,
        job.bundle.weights(),
        [Candidate(job.recipe.name, BundleWeights(folder / WEIGHTS / INDEX))],
        sample,
        progress,
        job.bundle.prefix_cache(),
    )
    if job.options.max_ppl_increase is not None:
        check_bar(report.entry, job.options.max_ppl_increase)
    write_report(folder / REPORT, [report], old.family, old.model)
    return dataclasses.replace(
        old,
        graphs=made.graphs,
        weights=WeightsEntry(
            dtype="float32" if job.options.portable else old.weights.dtype,
            quantization=made.scheme,
            bytes=stored_bytes(made.index),
            index=f"{WEIGHTS}/{INDEX}",
        ),
        files=describe_files(folder, progress),
        parity=made.parity,
        producer={
            **old.producer,
            "glmlite": glmlite.__version__,
            "recipe": job.recipe.name,
            **made.producer,
        },
        accuracy=report.entry,
        accuracy_report=REPORT,
        tuned_settings=None,
    )
