"""`glmlite tune`: the fastest threads and chunks for a bundle on this machine."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from glmlite.cli.base import command
from glmlite.cli.huge_pages import use_huge_pages
from glmlite.cli.options import bundle_argument, json_option
from glmlite.i18n import _

if TYPE_CHECKING:
    from glmlite.tuning.run import TuneReport


@command(
    name="tune",
    help=_(
        "Find the fastest settings for an ONNX bundle on this machine, and keep them in it.\n\n"
        "Measured are the number of threads, whether idle threads wait in a loop (spinning), and "
        "how many tokens of a prompt are fed at once. The best is what answers a prompt of "
        "--prompt-tokens with --new-tokens soonest. Every command then uses these settings on a "
        "machine with the same CPU; --threads still wins. The answers stay the same."
    ),
    examples=[
        ("glmlite tune build/glm2", _("measure, and write the best into the bundle")),
        ("glmlite tune build/glm2 --dry-run", _("measure only")),
        (
            "glmlite tune build/glm2 --prompt-tokens 1500 --new-tokens 50 --threads-up-to 8",
            _("for long documents and short answers, at most 8 threads"),
        ),
    ],
)
@bundle_argument()
@click.option(
    "--threads-up-to",
    type=click.IntRange(min=1),
    metavar="N",
    help=_("Try at most N threads. Default: one for each logical processor."),
)
@click.option(
    "--prompt-tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help=_("Tokens of the prompt. Default: 512, or half the cache."),
)
@click.option(
    "--new-tokens",
    type=click.IntRange(min=1),
    default=128,
    show_default=True,
    metavar="N",
    help=_("Tokens of the answer that shall be fastest."),
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    metavar="N",
    help=_("How often each measurement is made."),
)
@click.option("--dry-run", is_flag=True, help=_("Measure and print; leave the bundle as it is."))
@json_option(_("Print all measurements and the settings as one JSON object."))
def tune(
    bundle: Path,
    threads_up_to: int | None,
    prompt_tokens: int | None,
    new_tokens: int,
    repeats: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Measure, print, keep."""
    use_huge_pages(bundle)
    from glmlite.cli.output import telling_of
    from glmlite.cli.progress import show_progress
    from glmlite.cli.tables import print_json
    from glmlite.tuning.options import TuneOptions
    from glmlite.tuning.run import run_tune

    options = TuneOptions(threads_up_to, prompt_tokens, new_tokens, repeats)
    with show_progress() as progress:
        report = run_tune(bundle, options, dry_run=dry_run, progress=progress)
    with telling_of(report.path) if report.written else contextlib.nullcontext():
        if as_json:
            print_json(report.to_dict())
        else:
            print_report(report)


def print_report(report: TuneReport) -> None:
    """Print the table and what became of it."""
    from glmlite.cli.tables import print_table

    rows = []
    for found in report.measurements:
        prefill, decode = found.prefill.rate(found.prompt_tokens), found.decode.rate(1)
        rows.append(
            [
                found.threads,
                _("on") if found.spinning else _("off"),
                found.prefill_chunk,
                f"{prefill.median:.1f} ({prefill.least:.1f}–{prefill.most:.1f})",
                f"{decode.median:.1f} ({decode.least:.1f}–{decode.most:.1f})",
                f"{found.answer_seconds(report.new_tokens):.3g} s",
                "*" if found is report.best else "",
            ]
        )
    print_table(
        [
            _("Threads"),
            _("Spinning"),
            _("Chunk"),
            _("Prefill, tokens/s"),
            _("Decode, tokens/s"),
            _("Answer"),
            "",
        ],
        rows,
        title=_(
            "A prompt of {prompt} tokens, an answer of {new}",
            prompt=report.best.prompt_tokens,
            new=report.new_tokens,
        ),
        right=(0, 2, 3, 4, 5),
    )
    click.echo()
    if report.written:
        click.secho(
            _("The settings marked * are in the bundle: {path}", path=report.path), fg="green"
        )
    else:
        click.echo(
            _("The bundle was left as it is; without --dry-run it gets the settings marked *.")
        )
