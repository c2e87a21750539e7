"""`glmlite quantize`: a bundle with int8 or int4 weights, and what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glmlite.cli.base import command
from glmlite.cli.options import FiniteRange, json_option, toolchain_option
from glmlite.i18n import _

if TYPE_CHECKING:
    from glmlite.quant.job import Job

_CPU_OPTIONS = ("calibration", "config", "settings")


@command(
    name="quantize",
    help=_(
        "Make a bundle with int8 or int4 weights, and say what that costs.\n\n"
        "Recipes for CPUs (cpu_int8, cpu_w8a8, cpu_int4, cpu_int4_w8a8) make graphs for ONNX "
        "Runtime, from a float bundle or straight from a checkpoint. A recipe for Ascend runs "
        "MindSpore Lite's own converter on every graph of a MindIR bundle; --portable makes graphs "
        "with the same numbers that run on CPUs. Either way the report compares both sets of "
        "weights on a text: perplexity, divergence of the next token, equal first choices. "
        "--accuracy-only stops there and writes nothing."
    ),
    examples=[
        (
            "glmlite quantize chatglm2-6b --recipe cpu_int4 --output build/glm2-int4",
            _("int4 for CPUs, from a checkpoint"),
        ),
        (
            "glmlite quantize build/demo --accuracy-only --recipe cpu_int4 --recipe cpu_w8a8",
            _("what two recipes would cost, side by side"),
        ),
        (
            "glmlite quantize build/glm2 --recipe cpu_int4 --calibration my.txt --text test.txt "
            "--max-ppl-increase 2 --output build/glm2-int4",
            _("calibrated on your text, and written only if it is good enough"),
        ),
        (
            "glmlite quantize build/glm2 --recipe ascend_on_the_fly_quant --output build/glm2-int8 "
            "--converter ~/mindspore-lite-2.2.0-linux-aarch64",
            _("int8 for an Atlas 800T A2"),
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
@click.argument("source", type=click.Path(path_type=Path), metavar="BUNDLE|CHECKPOINT")
@click.option(
    "--recipe",
    "recipes",
    required=True,
    multiple=True,
    metavar="NAME|FILE",
    help=_(
        "Recipe: a file, or the name of one in quant/; .yaml for CPUs, .cfg for converters. With "
        "--accuracy-only several are compared."
    ),
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
    "--tokens",
    type=click.IntRange(min=16),
    default=2048,
    show_default=True,
    metavar="N",
    help=_("Read at most so many tokens of a text; fewer are quicker, and tell less."),
)
@click.option(
    "--timeout",
    type=FiniteRange(min=0, min_open=True),
    default=3600,
    show_default=True,
    metavar="SECONDS",
    help=_("End the converter if one graph takes longer."),
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=_(
        "Text that recipes for CPUs adapt the weights to. Default: the demo's corpus, of which the "
        "other half is measured on."
    ),
)
@click.option(
    "--max-ppl-increase",
    type=FiniteRange(min=0),
    metavar="PERCENT",
    help=_("Write nothing if the perplexity rises by more."),
)
@click.option(
    "--config",
    metavar="FILE|NAME",
    help=_("Of a checkpoint: export recipe that says how it is read."),
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help=_("Of a checkpoint: a value of the export recipe, such as export.cache_length=4096."),
)
@click.option("--no-accuracy", is_flag=True, help=_("For CPUs: do not measure what it costs."))
@click.option(
    "--no-parity",
    is_flag=True,
    help=_("For CPUs: do not run the graphs to compare them with the reference."),
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=_("Of --accuracy-only for CPUs: write the report as a page."),
)
@click.option("--force", is_flag=True, help=_("Replace a bundle that is there already."))
@toolchain_option()
@json_option(_("Print the report as one JSON object."))
def quantize(
    source: Path,
    recipes: tuple[str, ...],
    output: Path | None,
    print_command: bool,
    integer: str | None,
    accuracy_only: bool,
    report: Path | None,
    as_json: bool,
    no_accuracy: bool,
    no_parity: bool,
    force: bool,
    **options: Any,
) -> None:
    """Quantize, or say what that would do."""
    if output is None and not (accuracy_only or print_command):
        raise click.UsageError(_("Name the new bundle: --output DIR"))
    if len(recipes) > 1 and not accuracy_only:
        raise click.UsageError(_("Several recipes go with --accuracy-only."))
    if report is not None and not accuracy_only:
        raise click.UsageError(_("--report goes with --accuracy-only; bundles hold one anyway."))
    if no_accuracy and (accuracy_only or options["max_ppl_increase"] is not None):
        raise click.UsageError(
            _("--no-accuracy does not go with --accuracy-only and --max-ppl-increase.")
        )
    portable = options["portable"]
    if (portable and (options["converter"] or print_command)) or (integer and not portable):
        raise click.UsageError(
            _("--portable runs no converter; --integer goes with --portable only.")
        )
    from glmlite.quant.cpu_recipe import is_cpu_recipe
    from glmlite.quant.job import Job, QuantizeOptions

    chosen = QuantizeOptions(
        integer="int8" if integer == "int8" else "uint8" if integer else None,
        overwrite=force,
        accuracy=not no_accuracy,
        parity=not no_parity,
        **options,
    )
    for_cpus = [recipe for recipe in recipes if is_cpu_recipe(recipe)]
    if for_cpus and print_command:
        raise click.UsageError(_("Recipes for CPUs run no command that could be printed."))
    if for_cpus or len(recipes) > 1:
        from glmlite.cli.quantize_cpu import compare, quantize_for_cpus
        from glmlite.quant.cpu_job import check_options
        from glmlite.quant.report.place import check_page

        for recipe in for_cpus:
            check_options(Path(recipe).stem, chosen)
        if report is not None:
            check_page(report)
        if accuracy_only:
            compare(source, recipes, chosen, report, as_json)
        else:
            assert output is not None  # noqa: S101 - asked for above
            quantize_for_cpus(source, recipes[0], chosen, output, as_json)
        return
    if report or no_accuracy or no_parity or any(map(options.get, _CPU_OPTIONS)):
        raise click.UsageError(
            _(
                "--calibration, --config, --set, --report, --no-accuracy and --no-parity go with "
                "recipes for CPUs."
            )
        )
    job = Job.open(source, recipes[0], chosen)
    if print_command:
        _print_commands(job, (output or Path("OUTPUT")).absolute())
    elif accuracy_only:
        _measure(job, as_json)
    else:
        assert output is not None  # noqa: S101 - asked for above
        _run(job, output, as_json)


def _print_commands(job: Job, output: Path) -> None:
    from glmlite.cli.repl.answer import say
    from glmlite.errors import NoConverterError
    from glmlite.quant.converter import PACKAGE, expected_converter

    try:
        planned = job.commands(output)
    except NoConverterError as error:
        say(str(error))
        said = _("The commands are those of a package in {folder}.", folder=PACKAGE)
        say(said)
        planned = job.commands(output, expected_converter())
    for graph, command_line in planned:
        click.echo(f"# {graph.file}\n{command_line}\n")


def _measure(job: Job, as_json: bool) -> None:
    import dataclasses

    from glmlite.cli.progress import show_progress
    from glmlite.cli.quantize_tables import print_accuracy
    from glmlite.cli.tables import print_json
    from glmlite.quant.bar import check_bar
    from glmlite.quant.pipeline import measure_only

    with show_progress() as progress:
        accuracy = measure_only(job, progress)
    if as_json:
        print_json({"accuracy": dataclasses.asdict(accuracy)})
    else:
        print_accuracy(accuracy)
    if job.options.max_ppl_increase is not None:
        check_bar(accuracy, job.options.max_ppl_increase)


def _run(job: Job, output: Path, as_json: bool) -> None:
    from glmlite.cli.formatting import printable
    from glmlite.cli.progress import show_progress
    from glmlite.cli.quantize_cpu import print_report
    from glmlite.cli.quantize_tables import price
    from glmlite.quant.pipeline import run_quantize

    click.secho(price(job), fg="yellow", err=True)
    with show_progress() as progress:
        report = run_quantize(
            job,
            output,
            progress=progress,
            log=lambda line: click.echo(printable(line), err=True),
        )
    print_report(report, as_json)
