"""`glmlite merge-checkpoint`: the shards of a distributed training become one checkpoint."""

from __future__ import annotations

from pathlib import Path

import click

from glmlite.cli.base import command
from glmlite.cli.options import json_option, toolchain_option
from glmlite.i18n import _

_PATH = click.Path(path_type=Path)


def _strategy(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    # As in MindFormers' transform_ckpt.py, an empty value or None stands for no strategy.
    return None if value in (None, "", "None") else Path(value)


@command(
    name="merge-checkpoint",
    help=_(
        "Merge the shards of a distributed training into one checkpoint.\n\n"
        "SRC holds rank_0, rank_1, …; the strategy files tell how their tensors are sliced. "
        "MindSpore does the work (mindspore.transform_checkpoints), in the interpreter that "
        "--toolchain names; DST/rank_0/PREFIX0.ckpt appears whole or not at all. The flags of "
        "MindFormers' transform_ckpt.py are accepted as well."
    ),
    examples=[
        (
            "glmlite merge-checkpoint --strategy output/strategy --src output/checkpoint "
            "--dst merged --prefix glm2_6b",
            _("writes merged/rank_0/glm2_6b0.ckpt"),
        ),
        (
            "glmlite merge-checkpoint --src_ckpt_strategy output/strategy "
            "--src_ckpt_dir output/checkpoint --dst_ckpt_dir merged --prefix glm2_6b",
            _("the same, as transform_ckpt.py spells it"),
        ),
    ],
)
@click.option(
    "--src",
    "--src_ckpt_dir",
    "source",
    type=_PATH,
    required=True,
    metavar="DIR",
    help=_("Folder of rank_0, rank_1, …"),
)
@click.option(
    "--dst",
    "--dst_ckpt_dir",
    "destination",
    type=_PATH,
    required=True,
    metavar="DIR",
    help=_("Folder for the result."),
)
@click.option(
    "--strategy",
    "--src_ckpt_strategy",
    "strategy",
    callback=_strategy,
    metavar="PATH",
    help=_("Strategy file of the shards, or the folder of one for each pipeline stage."),
)
@click.option(
    "--dst-strategy",
    "--dst_ckpt_strategy",
    "destination_strategy",
    callback=_strategy,
    metavar="PATH",
    help=_("Slice the result in this way. Default: not at all, one checkpoint."),
)
@click.option(
    "--prefix",
    default="checkpoint_",
    show_default=True,
    metavar="TEXT",
    help=_("What the names of the written files begin with."),
)
@toolchain_option()
@click.option("--force", is_flag=True, help=_("Replace shards that are at DST already."))
@json_option(_("Print the report as one JSON object."))
def merge_checkpoint(
    source: Path,
    destination: Path,
    strategy: Path | None,
    destination_strategy: Path | None,
    prefix: str,
    toolchain: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Merge, and print what came of it."""
    from glmlite.checkpoint.distributed import merge_checkpoint as run
    from glmlite.cli.progress import show_progress

    with show_progress() as progress:
        report = run(
            source,
            destination,
            prefix=prefix,
            strategy=strategy,
            destination_strategy=destination_strategy,
            toolchain=toolchain,
            overwrite=force,
            progress=progress,
        )
    if as_json:
        import dataclasses

        from glmlite.cli.tables import print_json

        print_json({**dataclasses.asdict(report), "path": str(report.path)})
        return
    from glmlite.cli.formatting import format_bytes, printable

    for note in report.notes:
        click.echo(printable(note), err=True)
    for file in report.files:
        click.echo(str(report.path / file))
    click.secho(
        _(
            "{ranks} ranks merged into {count} files, {size} in {seconds:.0f} s.",
            ranks=report.ranks,
            count=len(report.files),
            size=format_bytes(report.nbytes),
            seconds=report.seconds,
        ),
        fg="green",
        err=True,
    )
