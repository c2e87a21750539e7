"""`glmlite export`: a trained checkpoint becomes a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from glmlite.cli.base import command
from glmlite.cli.options import json_option, toolchain_option
from glmlite.i18n import _

if TYPE_CHECKING:
    from glmlite.exporter.pipeline import ExportReport


@command(
    name="export",
    help=_(
        "Turn a trained checkpoint into a bundle of graphs.\n\n"
        "The recipe (--config) is a file, or the name of one that glmlite brings along. Every "
        "graph is compared with the NumPy reference before the bundle appears; if one differs, "
        "nothing is kept."
    ),
    examples=[
        ("glmlite export --config demo", _("the demo model that comes with glmlite")),
        (
            "glmlite export --config glm2_6b --checkpoint ~/chatglm2-6b --output build/glm2",
            _("a ChatGLM2-6B from a Hugging Face folder"),
        ),
        (
            "glmlite export --config demo --set export.cache_length=512 "
            "--toolchain .toolchain/bin/python",
            _("another cache length, and a MindIR that MindSpore Lite 2.0.0 reads"),
        ),
    ],
)
@click.option(
    "--config",
    "--config_path",
    "config",
    required=True,
    metavar="FILE|NAME",
    help=_(
        "Recipe: a YAML file, or the name of one in export_configs/. MindFormers' export YAMLs are "
        "read as they are."
    ),
)
@click.option("--checkpoint", metavar="PATH", help=_("Replaces model.checkpoint of the recipe."))
@click.option(
    "--adapter",
    "adapters",
    multiple=True,
    metavar="PATH",
    help=_("Replaces model.adapter of the recipe; may be given several times."),
)
@click.option("--output", metavar="DIR", help=_("Replaces export.output of the recipe."))
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help=_("Replaces one value of the recipe; may be given several times."),
)
@click.option("--force", is_flag=True, help=_("Replace a bundle that is there already."))
@toolchain_option()
@json_option(_("Print the report as one JSON object."))
def export(
    config: str,
    checkpoint: str | None,
    adapters: tuple[str, ...],
    output: str | None,
    assignments: tuple[str, ...],
    force: bool,
    toolchain: str | None,
    as_json: bool,
) -> None:
    """Run the export and print what came of it."""
    from glmlite.cli.output import telling_of
    from glmlite.cli.progress import show_progress
    from glmlite.cli.repl.answer import say
    from glmlite.exporter.config import load_config
    from glmlite.exporter.keys import parse_overrides
    from glmlite.exporter.pipeline import run_export

    overrides = parse_overrides(assignments)
    several = [{"path": path} for path in adapters] if len(adapters) > 1 else None
    named = {
        "model.checkpoint": checkpoint,
        "model.adapter": several or next(iter(adapters), None),
        "export.output": output,
    }
    overrides.update({key: value for key, value in named.items() if value is not None})
    recipe = load_config(config, overrides)
    for remark in recipe.remarks:
        say(remark)
    with show_progress() as progress:
        report = run_export(recipe, toolchain=toolchain, progress=progress, overwrite=force)
    with telling_of(report.path):
        _print_report(report, toolchain, as_json)


def _print_report(report: ExportReport, toolchain: str | None, as_json: bool) -> None:
    if as_json:
        import json

        from glmlite.cli.tables import print_json

        manifest = json.loads(report.manifest.to_json())
        print_json({"path": str(report.path), "seconds": report.seconds, "manifest": manifest})
        return
    from glmlite.cli.bundle_tables import next_command, print_graphs, total_size

    print_graphs(report.manifest)
    click.echo()
    click.secho(
        _(
            "{path}: {size} in {seconds:.0f} s.",
            path=report.path,
            size=total_size(report.manifest),
            seconds=report.seconds,
        ),
        fg="green",
    )
    click.echo(
        _("Next: {command}", command=next_command(report.manifest, str(report.path), toolchain))
    )
