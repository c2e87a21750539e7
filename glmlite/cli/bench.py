"""`glmlite bench`: how fast a bundle runs on this machine."""

from __future__ import annotations

import signal
from pathlib import Path

import click

from glmlite.cli.base import command
from glmlite.cli.options import EngineChoice, bundle_argument, engine_options, json_option
from glmlite.i18n import _

_EXIT_INTERRUPTED = 128 + signal.SIGINT


@command(
    name="bench",
    help=_(
        "Measure how fast a bundle runs on this machine.\n\n"
        "Loading, time to the first token, tokens a second of prefill and decode, what a token "
        "costs outside the engine, decode over the length of the context, a conversation's second "
        "turn, peak memory, and how near decoding comes to the machine's read bandwidth. "
        "Everything runs several times after a warm-up; shown are medians and extremes. Ctrl-C "
        "shows what was measured until then."
    ),
    examples=[
        ("glmlite bench build/glm2 --threads 8", _("a bundle of your own")),
        (
            "glmlite bench build/glm2 --prompt-tokens 1000 --repeats 5 --plot bench.png",
            _("longer prompts, more repeats, a picture"),
        ),
    ],
)
@bundle_argument()
@click.option(
    "--prompt-tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help=_("Tokens of the prompt. Default: 512, or half the cache."),
)
@click.option(
    "--new-tokens",
    type=click.IntRange(min=2),
    metavar="N",
    help=_("Tokens of the answer. Default: 64, or what fits."),
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help=_("Also decode N rows together."),
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    metavar="N",
    help=_("How often each measurement is made."),
)
@click.option(
    "--contexts",
    default="64,512,1024,2000",
    show_default=True,
    metavar="N,N,…",
    help=_("Tokens in the cache where decoding is measured; none for no such curve."),
)
@click.option(
    "--no-bandwidth", is_flag=True, help=_("Do not measure the machine's read bandwidth.")
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help=_("Of the random prompts."),
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=_("Draw a picture; needs matplotlib (pip install 'glmlite[plots]')."),
)
@engine_options()
@json_option(_("Print the report as one JSON object."))
def bench(
    bundle: Path,
    prompt_tokens: int | None,
    new_tokens: int | None,
    batch: int,
    repeats: int,
    contexts: str,
    no_bandwidth: bool,
    seed: int,
    plot: Path | None,
    engine: EngineChoice,
    as_json: bool,
) -> int:
    """Measure and print."""
    from glmlite.bench.options import BenchOptions
    from glmlite.bench.plot import check_plot, write_plot
    from glmlite.bench.run import run_bench
    from glmlite.cli.bench_tables import print_report
    from glmlite.cli.progress import show_progress
    from glmlite.cli.tables import print_json

    options = BenchOptions(
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        batch=batch,
        repeats=repeats,
        contexts=_parse_contexts(contexts),
        bandwidth=not no_bandwidth,
        seed=seed,
    )
    if plot:
        check_plot(plot)
    with show_progress() as progress:
        report = run_bench(bundle, engine.engine, engine.options(), options, progress)
    if plot:
        write_plot(report, plot)
    if as_json:
        print_json(report.to_dict())
    else:
        print_report(report)
    return _EXIT_INTERRUPTED if report.interrupted else 0


def _parse_contexts(text: str) -> tuple[int, ...]:
    if text.strip().lower() in ("", "none"):
        return ()
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise click.BadParameter(
            _("{found!r} is no list of numbers, such as 64,512.", found=text),
            param_hint="'--contexts'",
        ) from None
