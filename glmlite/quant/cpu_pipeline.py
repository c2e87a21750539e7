"""`glmlite quantize` for CPUs: a float bundle or a checkpoint in, a bundle for ONNX Runtime out."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import glmlite
from glmlite.bundle.manifest import FileEntry, Manifest, WeightsEntry
from glmlite.bundle.store import check_output, describe_files, publish, staging
from glmlite.disk import check_space
from glmlite.errors import ExportError
from glmlite.exporter.onnx_graph.builder import import_onnx
from glmlite.exporter.weights import DATA, INDEX, PREFIX_CACHE, WEIGHTS, write_prefix
from glmlite.i18n import _
from glmlite.model.parameters import parameter_shapes
from glmlite.progress import NoProgress, Progress
from glmlite.quant.accuracy import AccuracyReport, Candidate, measure
from glmlite.quant.bar import check_bar
from glmlite.quant.calibration import ActivationStats, collect
from glmlite.quant.candidates import read_candidate
from glmlite.quant.cpu_graphs import compare_with_reference, emit_graphs
from glmlite.quant.cpu_job import CpuJob
from glmlite.quant.cpu_weights import write_cpu_weights
from glmlite.quant.job import QuantizeReport
from glmlite.quant.output import check_apart, chosen_bytes
from glmlite.quant.report import REPORT, write_report
from glmlite.quant.weights import stored_bytes
from glmlite.runtime.engines.onnx_session import import_onnxruntime
from glmlite.toolchain.quantized import PREFILL, companions
from glmlite.toolchain.weights import WeightsIndex

RECIPE = "recipe.yaml"


def run_cpu(job: CpuJob, output: Path, *, progress: Progress | None = None) -> QuantizeReport:
    """Quantize for CPUs.

    Args:
        job: what, and how.
        output: folder of the new bundle.
        progress: told of every stage.

    Raises:
        GlmliteError: of the kind that fits; nothing is left at the output or beside it.
    """
    started = time.monotonic()
    progress = progress or NoProgress()
    output = output.expanduser().absolute()
    if job.source.path is not None:
        check_apart(job.source.path, output)
    check_output(output, job.options.overwrite)
    import_onnx()
    if job.options.parity:
        import_onnxruntime()
    for note in job.source.notes:
        progress.stage(note)
    try:
        with staging(output, job.options.overwrite) as folder:
            sets = [job.first] if job.second is None else [job.first, job.second]
            check_space(folder, chosen_bytes(job.source.model, *sets), _("Quantizing"))
            manifest, reports = _fill(job, folder, progress)
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
    seconds = time.monotonic() - started
    return QuantizeReport(output, manifest, job.source.bytes, seconds, tuple(reports))


def _fill(job: CpuJob, folder: Path, progress: Progress) -> tuple[Manifest, list[AccuracyReport]]:
    """Put everything but the manifest into the staging folder, prove it, and describe it."""
    source = job.source
    if source.tokenizer is not None and source.tokenizer_entry is not None:
        target = folder / source.tokenizer_entry.file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.tokenizer.vocabulary.path, target)
    write_prefix(source.prefix, folder)
    (folder / RECIPE).write_text(job.recipe.text, encoding="utf-8")
    index, data, reports = _make_weights(job, folder, progress)
    graphs = emit_graphs(folder, source, index, job.second is not None, progress)
    if reports:
        write_report(folder / REPORT, reports, source.family, source.model)
    manifest = Manifest(
        model=source.model,
        family=source.family,
        tokenizer=source.tokenizer_entry,
        graphs=graphs,
        weights=WeightsEntry("float32", job.scheme, stored_bytes(index), f"{WEIGHTS}/{INDEX}"),
        files=describe_files(folder, progress, {f"{WEIGHTS}/{DATA}": data}),
        prefix_length=source.prefix_length,
        prefix_cache=PREFIX_CACHE if source.prefix_length else None,
        parity=(),
        producer={
            **source.producer,
            "glmlite": glmlite.__version__,
            "onnx": importlib.metadata.version("onnx"),
            "recipe": job.recipe.name,
        },
        checkpoint=source.checkpoint,
        # Schema 1 has room for one; the others' lie in the report.
        accuracy=reports[0].entry if reports else None,
        accuracy_report=REPORT if reports else None,
    )
    if not job.options.parity:
        return manifest, reports
    parity = compare_with_reference(folder, manifest, source, progress)
    return dataclasses.replace(manifest, parity=parity), reports


def _make_weights(
    job: CpuJob, folder: Path, progress: Progress
) -> tuple[WeightsIndex, FileEntry, list[AccuracyReport]]:
    """Calibrate, write the weights into `folder`, and measure them.

    Raises:
        AccuracyError: they do not hold the bar.
    """
    source = job.source
    sample, calibration = job.samples()
    stats: dict[str, ActivationStats] = {}
    if calibration is not None:
        stats = collect(source.model, source.weights, calibration, source.prefix, progress)
    sets = 1 if job.second is None else 2
    total = sets * len(parameter_shapes(source.model))
    progress.stage(_("Quantizing the weights"), total, _("tensors"))
    index, data = write_cpu_weights(
        source.weights, source.model, job.first, job.second, stats, folder / WEIGHTS, progress
    )
    if not job.options.accuracy:
        return index, data, []
    candidates = _candidates(job, folder, index)
    reports = measure(source.model, source.weights, candidates, sample, progress, source.prefix)
    for report in reports:
        if job.options.max_ppl_increase is not None:
            check_bar(report.entry, job.options.max_ppl_increase)
    return index, data, reports


def _candidates(job: CpuJob, folder: Path, index: WeightsIndex) -> list[Candidate]:
    """Each set of weights in `folder`, to be measured."""
    prefixes = {"": job.recipe.name}
    if job.second is not None:
        prefixes[PREFILL] = _("{recipe} (prefill)", recipe=job.recipe.name)
    model, path = job.source.model, folder / WEIGHTS / INDEX
    return [
        dataclasses.replace(
            read_candidate(name, path, model, prefix),
            bytes=_bytes_of(index, parameter_shapes(model), prefix),
        )
        for prefix, name in prefixes.items()
    ]


def _bytes_of(index: WeightsIndex, names: Iterable[str], prefix: str) -> int:
    """Bytes of the tensors that one set of weights uses."""
    total = 0
    for name in names:
        found = index.find(name, prefix)
        form = index.quantized.get(found)
        parts = [found] if form is None else companions(found, form)
        total += sum(int(index.tensors[part]["nbytes"]) for part in parts)
    return total
