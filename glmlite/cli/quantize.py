"""`glmlite quantize`: a bundle with int8 weights, and what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from glmlite.cli.base import command
from glmlite.cli.options import bundle_argument, json_option, toolchain_option
from glmlite.i18n import _

if TYPE_CHECKING:
    from glmlite.quant.job import Job


@command(
    name="quantize",
    help=_(
        "Make a bundle with int8 weights, and say what that costs.\n\n"
        "A recipe for Ascend runs MindSpore Lite's own converter on every graph; --portable makes "
        "graphs with the same numbers that run on CPUs. Either way the report compares both sets "
        "of weights on a text: perplexity, divergence of the next token, equal first choices. "
        "--accuracy-only stops there and writes nothing."
    ),
    examples=[
        (
            "glmlite quantize build/glm2 --recipe ascend_on_the_fly_quant --output build/glm2-int8 "
            "--converter ~/mindspore-lite-2.2.0-linux-aarch64",
            _("int8 for an Atlas 800T A2"),
        ),
        (
            "glmlite quantize build/glm2 --recipe ascend_on_the_fly_quant --accuracy-only "
            "--text my.txt",
            _("what that would cost on your text, without a converter"),
        ),
        (
            "glmlite quantize build/demo --recipe ascend_on_the_fly_quant --portable "
            "--output build/demo-int8",
            _("the same int8 for CPUs: half the files, not half the memory"),
        ),
        (
            "glmlite quantize build/demo --recipe lite_cpu_int8 --output build/demo-int8 "
            "--toolchain .toolchain/bin/python",
            _("MindSpore Lite on the CPU: a quarter of the size, about five times slower"),
        ),
    ],
)
@bundle_argument()
@click.option(
    "--recipe",
    required=True,
    metavar="NAME|FILE",
    help=_("Recipe: a .cfg file, or the name of one in quant/."),
)
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help=_("The new bundle."))
@click.option(
    "--converter",
    metavar="DIR",
    help=_(
        "Root of a MindSpore Lite package (also: PACKAGE_ROOT, LITE_HOME). Default: the "
        "mindspore_lite of the toolchain."
    ),
)
@click.option(
    "--print-command", is_flag=True, help=_("Print exactly what would be run, and run nothing.")
)
@click.option(
    "--portable",
    is_flag=True,
    help=_("Make int8 graphs for CPUs instead of running a converter."),
)
@click.option(
    "--integer",
    type=click.Choice(["int8", "uint8"]),
    help=_("Of --portable. Default: uint8 where the toolchain has MindSpore Lite, else int8."),
)
@click.option("--accuracy-only", is_flag=True, help=_("Only measure; write nothing."))
@click.option(
    "--text",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=_("Measure on this text. Default: the demo's corpus."),
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=3600,
    show_default=True,
    metavar="SECONDS",
    help=_("End the converter if one graph takes longer."),
)
@click.option("--force", is_flag=True, help=_("Replace a bundle that is there already."))
@toolchain_option()
@json_option(_("Print the report as one JSON object."))
def quantize(
    bundle: Path,
    recipe: str,
    output: Path | None,
    converter: str | None,
    print_command: bool,
    portable: bool,
    integer: str | None,
    accuracy_only: bool,
    text: Path | None,
    timeout: float,
    force: bool,
    toolchain: str | None,
    as_json: bool,
) -> None:
    """Quantize, or say what that would do."""
    if output is None and not (accuracy_only or print_command):
        raise click.UsageError(_("Name the new bundle: --output DIR"))
    if (portable and (converter or print_command)) or (integer and not portable):
        raise click.UsageError(
            _("--portable runs no converter; --integer goes with --portable only.")
        )
    from glmlite.quant.job import Job, QuantizeOptions

    options = QuantizeOptions(
        converter=converter,
        toolchain=toolchain,
        portable=portable,
        integer="int8" if integer == "int8" else "uint8" if integer else None,
        text=text,
        timeout=timeout,
        overwrite=force,
    )
    job = Job.open(bundle, recipe, options)
    if print_command:
        for graph, planned in job.commands((output or Path("OUTPUT")).absolute()):
            click.echo(f"# {graph.file}\n{planned}\n")
    elif accuracy_only:
        _measure(job, as_json)
    else:
        assert output is not None  # noqa: S101 - asked for above
        _run(job, output, as_json)


def _measure(job: Job, as_json: bool) -> None:
    import dataclasses

    from glmlite.cli.progress import show_progress
    from glmlite.cli.quantize_tables import print_accuracy
    from glmlite.cli.tables import print_json
    from glmlite.quant.pipeline import measure_only

    with show_progress() as progress:
        accuracy = measure_only(job, progress)
    if as_json:
        print_json({"accuracy": dataclasses.asdict(accuracy)})
    else:
        print_accuracy(accuracy)


def _run(job: Job, output: Path, as_json: bool) -> None:
    import json

    from glmlite.cli.bundle_tables import print_graphs
    from glmlite.cli.formatting import format_bytes, printable
    from glmlite.cli.progress import show_progress
    from glmlite.cli.quantize_tables import price, print_accuracy
    from glmlite.cli.tables import print_json
    from glmlite.quant.pipeline import run_quantize

    click.secho(price(job), fg="yellow", err=True)
    with show_progress() as progress:
        report = run_quantize(
            job,
            output,
            progress=progress,
            log=lambda line: click.echo(printable(line), err=True),
        )
    if as_json:
        print_json(
            {
                "path": str(report.path),
                "seconds": report.seconds,
                "bytes_before": report.bytes_before,
                "manifest": json.loads(report.manifest.to_json()),
            }
        )
        return
    print_graphs(report.manifest)
    click.echo()
    if report.manifest.accuracy:
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
