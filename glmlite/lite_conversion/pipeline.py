"""`glmlite convert-lite`: any float bundle in, a bundle of MindSpore Lite's own graphs out."""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path

import glmlite
from glmlite.bundle import Bundle
from glmlite.bundle.contents import read_index
from glmlite.bundle.manifest import GraphEntry, Manifest, ParityEntry, WeightsEntry
from glmlite.bundle.store import check_output, describe_files, publish, staging
from glmlite.errors import ExportError
from glmlite.exporter.onnx_graph import emit_graph
from glmlite.exporter.onnx_graph.builder import import_onnx
from glmlite.exporter.onnx_graph.export import SCORE_FILE
from glmlite.exporter.weights import INDEX, WEIGHTS, weights_bytes, write_weights
from glmlite.i18n import _
from glmlite.lite_conversion.command import find_converter, make_command, onnx_file
from glmlite.lite_conversion.job import ConversionReport, LiteJob
from glmlite.lite_conversion.proof import prove
from glmlite.lite_conversion.sharing import SharedFile
from glmlite.progress import NoProgress, Progress
from glmlite.quant.conversion import list_files, take_in
from glmlite.quant.converter import Converter
from glmlite.quant.process import Log, run_logged
from glmlite.runtime.engines.interpreter import Interpreter, find_toolchain

# What made the source's graphs; nothing of those is in these.
_FORMER = ("mindspore", "onnx", "onnxruntime", "python", "converter")


def run_conversion(
    job: LiteJob, output: Path, *, progress: Progress | None = None, log: Log | None = None
) -> ConversionReport:
    """Convert a bundle.

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
    check_output(output, job.options.overwrite)
    import_onnx()
    converter = find_converter(job.options)
    interpreter = find_toolchain(job.options.toolchain)
    unproved = _why_unproved(job, interpreter)
    try:
        with staging(output, job.options.overwrite) as folder:
            _check_space(folder, job)
            copied, graphs = _fill(job, folder, converter, progress, log)
            parity: tuple[ParityEntry, ...] = ()
            if not unproved:
                parity = prove(job.bundle, folder, graphs, interpreter, progress)
            manifest = _describe(job, folder, graphs, parity, converter, progress)
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
    seconds = time.monotonic() - started
    return ConversionReport(output, manifest, before, copied, unproved, seconds)


def _why_unproved(job: LiteJob, interpreter: Interpreter) -> str:
    if not job.options.parity:
        return _("--no-parity")
    if interpreter.lite is None:
        return _("{python} has no mindspore_lite to run them", python=interpreter.python)
    return ""


def _check_space(folder: Path, job: LiteJob) -> None:
    """The weights lie there once, and once more inside the graph that is being converted."""
    needed = 2 * weights_bytes(job.bundle.manifest.model, "float32")
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ExportError(
            "The conversion needs {needed:.1f} GB of disk and {path} has {free:.1f} GB free.",
            hint="Free some space or name another --output.",
            needed=needed / 1e9,
            free=free / 1e9,
            path=str(folder.parent),
        )


def _fill(
    job: LiteJob, folder: Path, converter: Converter, progress: Progress, log: Log
) -> tuple[int, tuple[GraphEntry, ...]]:
    """Put weights, graphs and what goes along with them into the staging folder."""
    bundle, model = job.bundle, job.bundle.manifest.model
    _copy_along(bundle, folder)
    progress.stage(_("Writing the weights"), weights_bytes(model, "float32"), "B")
    write_weights(bundle.weights(), model, "float32", folder / WEIGHTS, progress)
    files = {onnx_file(graph) for graph in job.graphs}
    for file in sorted(files):
        emit_graph(
            folder,
            file,
            model,
            read_index(folder / WEIGHTS / INDEX),
            flavor="standard",
            cache_length=max(graph.cache_length for graph in job.graphs),
            prefix_length=bundle.manifest.prefix_length,
            score=file == SCORE_FILE,
            family=bundle.manifest.family,
        )
    progress.stage(
        _("Converting with {converter}", converter=converter.version), len(job.graphs), _("graphs")
    )
    shared, graphs = SharedFile(folder), []
    for graph in job.graphs:
        written = _convert(job, graph, folder, converter, log)
        shared.take(written.file, graph.file)
        graphs.append(dataclasses.replace(written, file=graph.file))
        progress.advance()
    for file in files:
        (folder / file).unlink()
    return shared.appended, tuple(graphs)


def _copy_along(bundle: Bundle, folder: Path) -> None:
    """Tokenizer and prefix stay as they are."""
    tokenizer = bundle.manifest.tokenizer
    for name in (tokenizer.file if tokenizer else None, bundle.manifest.prefix_cache):
        if name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path / name, folder / name)


def _convert(
    job: LiteJob, graph: GraphEntry, folder: Path, converter: Converter, log: Log
) -> GraphEntry:
    """Run the converter for one graph."""
    command = make_command(converter, job.bundle.manifest, graph, folder)
    before = list_files(folder)
    code, tail = run_logged(command.argv, converter.environment(), job.options.timeout, log)
    if code != 0:
        raise ExportError(
            "The converter failed on {graph} (exit code {code}). The end of its log:\n{log}",
            hint="--print-command shows the command, to run it by hand.",
            graph=graph.file,
            code=code,
            log=tail or "-",
        )
    return take_in(folder, graph, list_files(folder) - before, tail)


def _describe(
    job: LiteJob,
    folder: Path,
    graphs: tuple[GraphEntry, ...],
    parity: tuple[ParityEntry, ...],
    converter: Converter,
    progress: Progress,
) -> Manifest:
    old = job.bundle.manifest
    producer = {key: value for key, value in old.producer.items() if key not in _FORMER}
    return dataclasses.replace(
        old,
        graphs=graphs,
        weights=WeightsEntry(
            dtype="float32",
            quantization=old.weights.quantization,
            bytes=weights_bytes(old.model, "float32"),
            index=f"{WEIGHTS}/{INDEX}",
        ),
        files=describe_files(folder, progress),
        parity=parity,
        producer={
            **producer,
            "glmlite": glmlite.__version__,
            "converter": converter.version,
        },
        accuracy=None,
        accuracy_report=None,
    )
