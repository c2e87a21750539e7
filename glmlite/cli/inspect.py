"""`glmlite inspect`: what a bundle holds, and whether its files are as they were made."""

from __future__ import annotations

from pathlib import Path

import click

from glmlite.cli.base import command
from glmlite.cli.options import bundle_argument, json_option
from glmlite.i18n import _


@command(
    name="inspect",
    help=_(
        "Show what a bundle holds; check its files.\n\n"
        "Opening a bundle checks its manifest, its paths and the size of each file; --verify also "
        "reads every file and compares its sha256."
    ),
    examples=[
        ("glmlite inspect build/demo", _("model, graphs, weights, parity")),
        ("glmlite inspect build/demo --verify", _("after copying it")),
        ("glmlite inspect build/demo --json", _("the manifest, for a program")),
    ],
)
@bundle_argument()
@click.option("--verify", is_flag=True, help=_("Compare the sha256 of every file."))
@json_option(_("Print the manifest, with the bundle's path, as one JSON object."))
def inspect(bundle: Path, verify: bool, as_json: bool) -> None:
    """Print the bundle's description."""
    from glmlite.bundle import Bundle
    from glmlite.cli.progress import show_progress

    opened = Bundle.open(bundle)
    if verify:
        with show_progress() as progress:
            opened.verify(progress)
    settings = None
    if opened.manifest.tuned_settings:
        from glmlite.tuning.settings import read_settings, to_dict

        settings = read_settings(opened)
    if as_json:
        import json

        from glmlite.cli.tables import print_json

        manifest = json.loads(opened.manifest.to_json())
        tuned = {"tuned": to_dict(settings)} if settings else {}
        print_json({"path": str(opened.path), "verified": verify, **manifest, **tuned})
        return
    from glmlite.cli.bundle_tables import print_graphs, print_model, print_tuned, total_size

    count = len(opened.manifest.files)
    click.secho(str(opened.path), bold=True)
    print_model(opened.manifest)
    if settings:
        print_tuned(settings)
    print_graphs(opened.manifest)
    click.echo()
    if opened.manifest.accuracy:
        from glmlite.cli.quantize_tables import print_accuracy

        print_accuracy(opened.manifest.accuracy)
        click.echo()
    click.echo(_("{count} files, {size}.", count=count, size=total_size(opened.manifest)))
    if verify:
        click.secho(_("Every file is as it was made."), fg="green")
