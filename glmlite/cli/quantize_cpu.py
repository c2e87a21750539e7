"""`glmlite quantize` with recipes for CPUs, or with several."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from glmlite.errors import ConfigError
from glmlite.i18n import _

if TYPE_CHECKING:
    from glmlite.quant.accuracy import AccuracyReport
    from glmlite.quant.cpu_source import CpuSource
    from glmlite.quant.job import QuantizeOptions, QuantizeReport


def compare(
    source: Path,
    recipes: Sequence[str],
    options: QuantizeOptions,
    report: Path | None,
    as_json: bool,
) -> None:
    """Compare recipes without writing a bundle.

    Args:
        source: bundle or checkpoint.
        recipes: one or several.
        options: of the command line.
        report: file that gets the page, or None.
        as_json: print JSON instead of a table.
    """
    import dataclasses

    from glmlite.cli.progress import show_progress
    from glmlite.cli.quantize_tables import comparison_json, print_accuracy, print_comparison
    from glmlite.cli.tables import print_json
    from glmlite.quant.bar import check_bar
    from glmlite.quant.comparison import compare_recipes
    from glmlite.quant.cpu_source import open_source

    with show_progress() as progress:
        reports = compare_recipes(source, recipes, options, progress)
    try:
        if report is not None:
            model = open_source(source, options.config, options.settings)
            _write_page(report, reports, model)
    finally:
        # What took so long to measure is not lost with its page.
        if as_json and len(reports) == 1:
            print_json({"accuracy": dataclasses.asdict(reports[0].entry)})
        elif as_json:
            print_json(comparison_json(reports))
        elif len(reports) == 1:
            print_accuracy(reports[0].entry)
        else:
            print_comparison(reports)
    for found in reports:
        if options.max_ppl_increase is not None:
            check_bar(found.entry, options.max_ppl_increase)


def _write_page(path: Path, reports: Sequence[AccuracyReport], model: CpuSource) -> None:
    from glmlite.quant.report import write_report

    try:
        write_report(path, reports, model.family, model.model)
    except OSError as error:
        raise ConfigError(
            "--report {path} cannot be written: {error}",
            path=str(path),
            error=error.strerror or str(error),
        ) from error


def quantize_for_cpus(
    source: Path, recipe: str, options: QuantizeOptions, output: Path, as_json: bool
) -> None:
    """Make a bundle for ONNX Runtime.

    Args:
        source: bundle or checkpoint.
        recipe: for CPUs.
        options: of the command line.
        output: the new bundle.
        as_json: print JSON instead of tables.
    """
    from glmlite.cli.progress import show_progress
    from glmlite.quant.cpu_job import CpuJob
    from glmlite.quant.cpu_pipeline import run_cpu

    job = CpuJob.open(source, recipe, options)
    with show_progress() as progress:
        report = run_cpu(job, output, progress=progress)
    print_report(report, as_json)


def print_report(report: QuantizeReport, as_json: bool) -> None:
    """What came of it: graphs, accuracy, sizes."""
    from glmlite.cli.output import telling_of

    with telling_of(report.path):
        _print_report(report, as_json)


def _print_report(report: QuantizeReport, as_json: bool) -> None:
    from glmlite.cli.bundle_tables import print_graphs
    from glmlite.cli.formatting import format_bytes
    from glmlite.cli.quantize_tables import comparison_json, print_accuracy
    from glmlite.cli.tables import print_json

    if as_json:
        print_json(
            {
                "path": str(report.path),
                "seconds": report.seconds,
                "bytes_before": report.bytes_before,
                "manifest": json.loads(report.manifest.to_json()),
                **(comparison_json(report.accuracy) if report.accuracy else {}),
            }
        )
        return
    print_graphs(report.manifest)
    click.echo()
    if len(report.accuracy) > 1:
        for found in report.accuracy:
            click.secho(found.name, bold=True)
            print_accuracy(found.entry)
            click.echo()
    elif report.manifest.accuracy:
        print_accuracy(report.manifest.accuracy)
        click.echo()
    click.secho(
        _(
            "{path}: {size} instead of {before}, in {seconds:.0f} s.",
            path=report.path,
            size=format_bytes(sum(f.size for f in report.manifest.files.values())),
            before=format_bytes(report.bytes_before),
            seconds=report.seconds,
        ),
        fg="green",
    )
