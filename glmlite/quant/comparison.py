"""Several recipes on one model and one text, so that a user can choose; nothing is kept."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from glmlite.errors import ConfigError, ExportError
from glmlite.exporter.weights import INDEX
from glmlite.i18n import _
from glmlite.model.parameters import parameter_shapes
from glmlite.progress import NoProgress, Progress
from glmlite.quant.accuracy import AccuracyReport, Candidate, measure
from glmlite.quant.bar import require_text
from glmlite.quant.calibration import ActivationStats, collect
from glmlite.quant.candidates import read_candidate
from glmlite.quant.cpu_job import CpuJob
from glmlite.quant.cpu_recipe import is_cpu_recipe
from glmlite.quant.cpu_source import CpuSource, open_source
from glmlite.quant.cpu_weights import write_cpu_weights
from glmlite.quant.job import QuantizeOptions
from glmlite.quant.recipe import load_recipe
from glmlite.quant.sample import Sample, text_sample
from glmlite.quant.weights import QuantizedSource
from glmlite.toolchain.quantized import PREFILL

Path_ = str | os.PathLike[str]


def compare_recipes(
    path: Path_,
    recipes: Sequence[Path_],
    options: QuantizeOptions,
    progress: Progress | None = None,
) -> list[AccuracyReport]:
    """Measure what each recipe would cost, all on the same text beside the same float network.

    Quantized weights lie in a temporary folder meanwhile (`TMPDIR`), as many bytes as the bundles
    would take.

    Args:
        path: a float bundle or a checkpoint.
        recipes: names or files.
        options: text, calibration, and how a checkpoint is read.
        progress: gets the stages.

    Returns:
        A report for each recipe, in order; two for one with weights of its own for prefill.

    Raises:
        GlmliteError: of the kind that fits.
    """
    progress = progress or NoProgress()
    plain = QuantizeOptions(
        text=options.text,
        tokens=options.tokens,
        config=options.config,
        settings=options.settings,
        accuracy=True,
    )
    source = open_source(Path(path).expanduser(), options.config, options.settings)
    jobs = {r: CpuJob.open(path, r, plain) for r in recipes if is_cpu_recipe(_name(r))}
    sample, stats = _read(source, list(jobs.values()), options, progress)
    try:
        with tempfile.TemporaryDirectory(prefix="glmlite-") as scratch:
            candidates: list[Candidate] = []
            for number, recipe in enumerate(recipes):
                if recipe in jobs:
                    folder = Path(scratch, str(number))
                    candidates += _store(jobs[recipe], stats, folder, progress)
                else:
                    candidates.append(_round(source, recipe))
            return measure(
                source.model, source.weights, candidates, sample, progress, source.prefix
            )
    except OSError as error:
        raise ExportError(
            "The quantized weights could not be written to {path}: {error}.",
            hint="Name a folder with more room: TMPDIR=DIR glmlite quantize …",
            path=tempfile.gettempdir(),
            error=error.strerror or str(error),
        ) from error
    finally:
        progress.done()


def _name(recipe: Path_) -> str | Path:
    return Path(recipe) if isinstance(recipe, os.PathLike) else recipe


def _read(
    source: CpuSource, jobs: Sequence[CpuJob], options: QuantizeOptions, progress: Progress
) -> tuple[Sample, Mapping[str, ActivationStats]]:
    """The text to measure on, and the statistics of another one where a recipe wants them."""
    wanting = [job for job in jobs if job.needs_calibration]
    if options.calibration is not None and not wanting:
        raise ConfigError(
            "None of these recipes uses a calibration text.",
            hint="Leave --calibration out. To measure on a text: --text FILE",
        )
    if wanting:
        # As it would be quantized alone.
        measured, calibration = dataclasses.replace(wanting[0], options=options).samples()
    else:
        size = source.model.vocab_size
        measured = text_sample(source.tokenizer, size, options.text, options.tokens)
        calibration = None
    if options.max_ppl_increase is not None:
        require_text(measured)
    if calibration is None:
        return measured, {}
    return measured, collect(source.model, source.weights, calibration, source.prefix, progress)


def _store(
    job: CpuJob, stats: Mapping[str, ActivationStats], folder: Path, progress: Progress
) -> list[Candidate]:
    """Quantize for CPUs, as `glmlite quantize` would."""
    model, sets = job.source.model, 1 if job.second is None else 2
    title = _("Quantizing the weights: {recipe}", recipe=job.recipe.name)
    progress.stage(title, sets * len(parameter_shapes(model)), _("tensors"))
    write_cpu_weights(job.source.weights, model, job.first, job.second, stats, folder, progress)
    name, index = job.recipe.name, folder / INDEX
    made = [read_candidate(name, index, model)]
    if job.second is not None:
        label = _("{recipe} (prefill)", recipe=name)
        made.append(read_candidate(label, index, model, PREFILL))
    return made


def _round(source: CpuSource, recipe: Path_) -> Candidate:
    """What a converter for Ascend or Lite would do to the weights."""
    loaded = load_recipe(recipe)
    names = loaded.quantized_names(source.model)
    words = dict.fromkeys(names, _("int{bits} rows", bits=8))
    return Candidate(loaded.name, QuantizedSource(source.weights, names), schemes=words)
