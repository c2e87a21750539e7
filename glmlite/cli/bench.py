"""`glmlite bench`: how fast a bundle runs on this machine."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from glmlite.cli.base import command
from glmlite.cli.huge_pages import restart_with_huge_pages, use_huge_pages
from glmlite.cli.options import EngineChoice, engine_options, json_option
from glmlite.i18n import _

if TYPE_CHECKING:
    from glmlite.bench.options import BenchOptions

_EXIT_INTERRUPTED = 128 + signal.SIGINT


@command(
    name="bench",
    help=_(
        "Measure how fast a bundle runs on this machine.\n\n"
        "Loading, time to the first token, tokens a second of prefill and decode, what a token "
        "costs outside the engine, decode over the length of the context, a conversation's second "
        "turn, peak memory, and how near decoding comes to the machine's read bandwidth. "
        "Everything runs several times after a warm-up; shown are medians and extremes. Ctrl-C "
        "shows what was measured until then.\n\n"
        "--random makes a bundle of random weights in the shapes of a published model, so no "
        "checkpoint is needed."
    ),
    examples=[
        ("glmlite bench build/glm2 --threads 8", _("a bundle of your own")),
        (
            "glmlite bench build/glm2 --prompt-tokens 1000 --repeats 5 --plot bench.png",
            _("longer prompts, more repeats, a picture"),
        ),
        (
            "glmlite bench --random glm2_6b --recipe cpu_int4 --keep build/random-int4",
            _("ChatGLM2-6B's shapes without its weights"),
        ),
    ],
)
@click.argument("bundle", type=click.Path(path_type=Path), metavar="[BUNDLE]", required=False)
@click.option(
    "--random",
    "preset",
    metavar="PRESET",
    help=_("Measure random weights of this preset's shapes, for example glm2_6b or tiny."),
)
@click.option(
    "--recipe",
    metavar="NAME|FILE",
    help=_("Of --random: how to quantize them, for example cpu_int4; none keeps them float."),
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help=_("Of --random: keep the bundle there; one that is there already is measured again."),
)
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
    metavar="N,N,…",
    help=_(
        "Tokens in the cache where decoding is measured; none for no such curve. Default: "
        "64,512,1024,2000, as far as they fit."
    ),
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
    help=_("Of the random prompts, and of --random's weights."),
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
    bundle: Path | None,
    preset: str | None,
    recipe: str | None,
    keep: Path | None,
    prompt_tokens: int | None,
    new_tokens: int | None,
    batch: int,
    repeats: int,
    contexts: str | None,
    no_bandwidth: bool,
    seed: int,
    plot: Path | None,
    engine: EngineChoice,
    as_json: bool,
) -> int:
    """Measure and print."""
    if bundle is None and preset is None:
        raise click.UsageError(_("Name a bundle, or random weights: --random PRESET."))
    if bundle is not None and preset is not None:
        raise click.UsageError(_("Name a bundle or --random PRESET, not both."))
    if preset is None and (recipe or keep):
        raise click.UsageError(_("--recipe and --keep go with --random only."))
    if bundle is None:
        restart_with_huge_pages()
    else:
        use_huge_pages(bundle)
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

    place = _place(bundle, preset, recipe, keep, options, engine)
    with place as path, show_progress() as progress:
        report = run_bench(path, engine.engine, engine.options(), options, progress)
    try:
        if plot:
            write_plot(report, plot)
    finally:
        # What took so long to measure is not lost with its picture.
        if as_json:
            print_json(report.to_dict())
        else:
            print_report(report)
    return _EXIT_INTERRUPTED if report.interrupted else 0


def _parse_contexts(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    if text.strip().lower() in ("", "none"):
        return ()
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise click.BadParameter(
            _("{found!r} is no list of numbers, such as 64,512.", found=text),
            param_hint="'--contexts'",
        ) from None


@contextlib.contextmanager
def _place(
    bundle: Path | None,
    preset: str | None,
    recipe: str | None,
    keep: Path | None,
    options: BenchOptions,
    engine: EngineChoice,
) -> Iterator[Path]:
    """The folder of the bundle to measure; a random one lives as long as this, unless kept."""
    if bundle is not None:
        yield bundle
        return
    assert preset is not None  # noqa: S101 - one of the two was given
    import tempfile

    from glmlite.bench.random_bundle import (
        NO_RECIPE,
        RandomModel,
        check_engine,
        make_random_bundle,
    )
    from glmlite.cli.progress import show_progress

    model = RandomModel(preset, recipe or NO_RECIPE, options.seed, options.batch)
    options.check_fit(model.cache_length, model.batch_size)
    check_engine(engine.engine, engine.options())
    with contextlib.ExitStack() as stack:
        if keep is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="glmlite-bench-"))
        with show_progress() as progress:
            path = make_random_bundle(model, keep or Path(folder) / "bundle", progress)
        yield path
