"""Exporting and quantizing as functions: what `glmlite.export` and `glmlite.quantize` are."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from glmlite.keywords import check_flag, check_keywords, check_path
from glmlite.progress import Progress


def export(
    config: str | os.PathLike[str] | Mapping[str, Any],
    *,
    toolchain: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    **overrides: Any,
) -> Path:
    """Export a checkpoint as a bundle and prove that its graphs compute what the model does.

    Args:
        config: a recipe: its file, its name (e.g. "glm2_6b"), or its contents as a dict.
        toolchain: interpreter that has MindSpore; None: `GLMLITE_TOOLCHAIN`, else this one.
        progress: told of every stage; see `glmlite.progress`.
        overwrite: replace a bundle that is at the output already.
        **overrides: values that replace the recipe's: `checkpoint=…`, `output=…`,
            `cache_length=512`, or whole dotted keys as `**{"export.cache_length": 512}`.

    Returns:
        The bundle's folder, absolute.

    Raises:
        GlmliteError: says what is wrong and what to do; nothing is left behind.
    """
    from glmlite.exporter.keys import KNOWN
    from glmlite.exporter.pipeline import run_export

    short = [key.rpartition(".")[2] for key in KNOWN]
    check_keywords(overrides, [*short, *KNOWN, "toolchain", "progress", "overwrite"])
    if toolchain is not None:
        check_path("toolchain", toolchain)
    check_flag("overwrite", overwrite)
    report = run_export(
        config,
        toolchain=toolchain,
        progress=progress,
        overrides=overrides,
        overwrite=overwrite,
    )
    return report.path


def quantize(
    source: str | os.PathLike[str],
    *,
    recipe: str | os.PathLike[str],
    output: str | os.PathLike[str],
    progress: Progress | None = None,
    log: Callable[[str], None] | None = None,
    **options: Any,
) -> Path:
    """Quantize a model's weights to int8 or int4 and measure what that costs.

    Args:
        source: a float bundle's folder; with a recipe for CPUs also a checkpoint.
        recipe: a `.yaml` (for CPUs) or `.cfg` file (for converters), or the name of one in quant/
            (e.g. "cpu_int4", "ascend_on_the_fly_quant").
        output: folder of the new bundle.
        progress: told of every stage.
        log: gets the converter's lines.
        **options: see `glmlite.quant.job.QuantizeOptions`: `text=…`, `overwrite=True`,
            `max_ppl_increase=…`; for CPUs `calibration=…`; for converters `converter=…`,
            `toolchain=…`, `portable=True`, `timeout=…`.

    Returns:
        The new bundle's folder, absolute; its manifest holds the accuracy report.

    Raises:
        GlmliteError: says what is wrong and what to do; nothing is left behind.
    """
    from glmlite.quant.cpu_recipe import is_cpu_recipe
    from glmlite.quant.job import Job, QuantizeOptions

    chosen = QuantizeOptions.from_options(options, ("progress", "log"))
    source, output = check_path("source", source), check_path("output", output)
    check_path("recipe", recipe)  # kept as it is: text may be a name
    if is_cpu_recipe(Path(recipe) if isinstance(recipe, os.PathLike) else recipe):
        from glmlite.quant.cpu_job import CpuJob
        from glmlite.quant.cpu_pipeline import run_cpu

        cpu_job = CpuJob.open(source, recipe, chosen)
        return run_cpu(cpu_job, output, progress=progress).path
    from glmlite.quant.pipeline import run_quantize

    return run_quantize(Job.open(source, recipe, chosen), output, progress=progress, log=log).path
