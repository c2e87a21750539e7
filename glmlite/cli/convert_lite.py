"""`glmlite convert-lite`: a bundle for MindSpore Lite, made by Lite's own converter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glmlite.cli.base import command
from glmlite.cli.options import FiniteRange, bundle_argument, json_option, toolchain_option
from glmlite.i18n import _

if TYPE_CHECKING:
    from glmlite.lite_conversion import ConversionReport, LiteJob

_WORTH_SAYING = 0.01


def _sizes(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    """`"32,128"` as numbers, each once, ascending; none for nothing."""
    try:
        return tuple(sorted({int(part) for part in value.split(",")})) if value else ()
    except ValueError as error:
        raise click.BadParameter(
            _("{value!r} is no list of numbers such as 32,128.", value=value)
        ) from error


@command(
    name="convert-lite",
    help=_(
        "Make a bundle for MindSpore Lite without MindSpore.\n\n"
        "MindSpore Lite's own converter reads ONNX graphs that glmlite writes from the weights of "
        "BUNDLE, once for each phase and size. BUNDLE may hold graphs of any format, also MindIR "
        "that is too new for your Lite; its weights must be float. The new graphs compute in "
        "float32 and are compared with the NumPy reference on MindSpore Lite before the bundle "
        "appears."
    ),
    examples=[
        (
            "glmlite convert-lite build/demo --output build/demo-lite "
            "--toolchain .toolchain/bin/python",
            _("with the mindspore_lite of another interpreter"),
        ),
        (
            "glmlite convert-lite build/demo --output build/demo-lite --prefill-tokens 32,128 "
            "--cache-length 512 --converter ~/mindspore-lite-2.2.0-linux-x64",
            _("with a package of Lite, for these sizes"),
        ),
        (
            "glmlite convert-lite build/demo --print-command --toolchain .toolchain/bin/python",
            _("what would be run"),
        ),
    ],
)
@bundle_argument()
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help=_("The new bundle."))
@click.option(
    "--prefill-tokens",
    callback=_sizes,
    default="",
    metavar="N,…",
    help=_("Tokens in a chunk of a prompt, a graph for each. Default: the bundle's, or 128."),
)
@click.option(
    "--cache-length",
    callback=_sizes,
    default="",
    metavar="N,…",
    help=_("Cache slots, a set of graphs for each. Default: the bundle's."),
)
@click.option(
    "--batch-size", type=click.IntRange(min=1), metavar="N", help=_("Rows. Default: the bundle's.")
)
@click.option(
    "--score-tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help=_("Also make score graphs of so many tokens, with logits of each."),
)
@click.option(
    "--converter",
    metavar="DIR",
    help=_(
        "Root of a MindSpore Lite package. Default: the mindspore_lite of the toolchain, else "
        "PACKAGE_ROOT or LITE_HOME."
    ),
)
@click.option(
    "--print-command", is_flag=True, help=_("Print exactly what would be run, and run nothing.")
)
@click.option(
    "--timeout",
    type=FiniteRange(min=0, min_open=True),
    default=3600,
    show_default=True,
    metavar="SECONDS",
    help=_("End the converter if one graph takes longer."),
)
@click.option("--no-parity", is_flag=True, help=_("Do not compare the graphs with the reference."))
@click.option("--force", is_flag=True, help=_("Replace a bundle that is there already."))
@toolchain_option()
@json_option(_("Print the report as one JSON object."))
def convert_lite(
    bundle: Path,
    output: Path | None,
    print_command: bool,
    no_parity: bool,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Convert, or say what that would run."""
    if output is None and not print_command:
        raise click.UsageError(_("Name the new bundle: --output DIR"))
    from glmlite.lite_conversion import ConversionOptions, LiteJob

    chosen = ConversionOptions(parity=not no_parity, overwrite=force, **options)
    job = LiteJob.open(bundle, chosen)
    if print_command:
        _print_commands(job, (output or Path("OUTPUT")).absolute(), as_json)
        return
    assert output is not None  # noqa: S101 - asked for above
    _run(job, output, as_json)


def _print_commands(job: LiteJob, folder: Path, as_json: bool) -> None:
    from glmlite.cli.tables import print_json
    from glmlite.lite_conversion.command import commands

    planned = commands(job, folder)
    if as_json:
        print_json(
            {
                "commands": [
                    {"graph": graph.file, "argv": list(c.argv), "environment": dict(c.variables)}
                    for graph, c in planned
                ]
            }
        )
        return
    note = _(
        "The ONNX files are written from the bundle's weights first, in standard operators; for a "
        "run by hand, glmlite export --set export.format=onnx --set export.flavor=standard makes "
        "the same."
    )
    click.echo(f"# {note}\n")
    for graph, made in planned:
        click.echo(f"# {graph.file}\n{made}\n")


def _run(job: LiteJob, output: Path, as_json: bool) -> None:
    from glmlite.cli.formatting import printable
    from glmlite.cli.output import telling_of
    from glmlite.cli.progress import show_progress
    from glmlite.lite_conversion import run_conversion

    with show_progress() as progress:
        report = run_conversion(
            job,
            output,
            progress=progress,
            log=lambda line: click.echo(printable(line), err=True),
        )
    with telling_of(report.path):
        _print_report(job, report, as_json)


def _print_report(job: LiteJob, report: ConversionReport, as_json: bool) -> None:
    from glmlite.cli.bundle_tables import next_command, print_graphs
    from glmlite.cli.formatting import format_bytes
    from glmlite.cli.tables import print_json

    size = sum(file.size for file in report.manifest.files.values())
    if as_json:
        print_json(
            {
                "path": str(report.path),
                "seconds": report.seconds,
                "bytes": size,
                "bytes_before": report.bytes_before,
                "bytes_changed_by_converter": report.copied,
                "unproved": report.unproved or None,
                "manifest": json.loads(report.manifest.to_json()),
            }
        )
        return
    print_graphs(report.manifest)
    click.echo()
    if report.unproved:
        click.secho(
            _("Not compared with the reference: {reason}.", reason=report.unproved), fg="yellow"
        )
    if job.bundle.manifest.weights.dtype == "float16":
        click.echo(
            _("The weights were float16; MindSpore Lite computes in float32 on CPUs, so they are.")
        )
    if report.copied > _WORTH_SAYING * report.manifest.weights.bytes:
        click.echo(
            _(
                "The converter changed weights of {size}; they lie beside the bundle's own.",
                size=format_bytes(report.copied),
            )
        )
    click.secho(
        _(
            "{path}: {size} instead of {before}, in {seconds:.0f} s.",
            path=report.path,
            size=format_bytes(size),
            before=format_bytes(report.bytes_before),
            seconds=report.seconds,
        ),
        fg="green",
    )
    toolchain = job.options.toolchain
    shown = next_command(report.manifest, str(report.path), str(toolchain) if toolchain else None)
    click.echo(_("Next: {command}", command=shown))
