"""`glmlite convert`: a checkpoint in another format."""

from __future__ import annotations

from pathlib import Path

import click

from glmlite.cli.base import command
from glmlite.cli.options import json_option
from glmlite.i18n import _


@command(
    name="convert",
    help=_(
        "Write a checkpoint in another format.\n\n"
        "SRC is a Hugging Face folder (safetensors, .bin), a .bin, .pth or .ckpt file, or a folder "
        "of .ckpt pieces; nothing in it is executed. DST ending in .ckpt is a MindSpore file with "
        "MindFormers' names; any other DST is a Hugging Face folder of safetensors. Values stay "
        "bit by bit, and DST appears whole or not at all."
    ),
    examples=[
        ("glmlite convert glm2_6b.ckpt chatglm2-6b", _("from MindSpore to Hugging Face")),
        ("glmlite convert chatglm2-6b glm2_6b.ckpt", _("and back")),
        (
            "glmlite convert chatglm2-6b-int4 chatglm2-6b-float",
            _("computes the weights of an official int4 checkpoint"),
        ),
    ],
)
@click.argument("source", type=click.Path(path_type=Path), metavar="SRC")
@click.argument("destination", type=click.Path(path_type=Path), metavar="DST")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    help=_("Change the type of the weights. Default: as they are stored."),
)
@click.option("--force", is_flag=True, help=_("Replace a checkpoint that is there already."))
@json_option(_("Print the report as one JSON object."))
def convert(source: Path, destination: Path, dtype: str | None, force: bool, as_json: bool) -> None:
    """Run the conversion and print what came of it."""
    from glmlite.checkpoint.convert import convert as run
    from glmlite.cli.progress import show_progress

    with show_progress() as progress:
        report = run(source, destination, dtype=dtype, overwrite=force, progress=progress)
    if as_json:
        import dataclasses

        from glmlite.cli.tables import print_json

        print_json({**dataclasses.asdict(report), "path": str(report.path)})
        return
    from glmlite.cli.formatting import format_bytes, printable

    for note in report.notes:
        click.echo(printable(note))
    click.secho(
        _(
            "{path}: {count} tensors ({dtypes}), {size} in {seconds:.0f} s.",
            path=report.path,
            count=report.tensors,
            dtypes=", ".join(report.dtypes),
            size=format_bytes(report.nbytes),
            seconds=report.seconds,
        ),
        fg="green",
    )
