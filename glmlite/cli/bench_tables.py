"""What `glmlite bench` says of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from glmlite.cli.formatting import format_bytes
from glmlite.cli.tables import print_pairs, print_table
from glmlite.i18n import _

if TYPE_CHECKING:
    from glmlite.bench.report import BenchReport, Spread


def print_report(report: BenchReport) -> None:
    """Print everything that was measured."""
    print_pairs(_subject(report))
    click.echo()
    print_pairs(_answers(report))
    click.echo()
    print_pairs(_machine(report))
    if report.contexts:
        click.echo()
        print_table(
            [_("Tokens in the cache"), _("ms per token"), _("tokens/s"), _("Against the first")],
            [
                (
                    point.context,
                    _spread(point.token_seconds, 1e3, ".3g"),
                    f"{1 / point.token_seconds.median:.3g}",
                    f"{point.token_seconds.median / report.contexts[0].token_seconds.median:.0%}",
                )
                for point in report.contexts
            ],
            right=(0, 1, 2, 3),
        )
    if report.interrupted:
        click.echo()
        click.secho(
            _("Interrupted: only what was measured until then is shown."), fg="yellow", err=True
        )


def _spread(spread: Spread, factor: float = 1.0, form: str = ".3g") -> str:
    """The median with the extremes behind it; alone where there is one value."""
    median = f"{spread.median * factor:{form}}"
    if spread.count == 1:
        return median
    return f"{median} ({spread.least * factor:{form}}–{spread.most * factor:{form}})"


def _subject(report: BenchReport) -> list[tuple[str, object]]:
    subject, settings = report.subject, report.settings
    versions = ", ".join(f"{name} {version}" for name, version in subject.versions.items())
    return [
        (_("Bundle"), subject.path),
        (
            _("Model"),
            _(
                "{layers} layers, hidden size {hidden}, weights {size} ({scheme})",
                layers=subject.layers,
                hidden=subject.hidden_size,
                size=format_bytes(subject.weights_bytes),
                scheme=subject.quantization,
            ),
        ),
        (_("Engine"), f"{subject.engine} ({subject.engine_reason})"),
        (_("Versions"), versions),
        (_("Threads"), settings.threads or _("the engine's choice")),
        (_("Machine"), f"{report.machine.cpu}, {report.machine.system}"),
        (
            _("Measured"),
            _(
                "a prompt of {prompt} tokens, {new} new ones, once"
                if settings.repeats == 1
                else "a prompt of {prompt} tokens, {new} new ones, {repeats} times: median "
                "(least–most)",
                prompt=settings.prompt_tokens,
                new=settings.new_tokens,
                repeats=settings.repeats,
            ),
        ),
    ]


def _answers(report: BenchReport) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    if report.load_seconds is not None:
        rows.append((_("Loading"), f"{report.load_seconds:.3g} s"))
    if report.warm_up_seconds is not None:
        rows.append((_("Warming up"), f"{report.warm_up_seconds:.3g} s"))
    if answers := report.answers:
        rows += [
            (_("Time to first token"), f"{_spread(answers.first_token_seconds)} s"),
            (_("Prefill"), f"{_spread(answers.prefill_tokens_per_second)} tokens/s"),
            (_("Decode"), f"{_spread(answers.decode_tokens_per_second)} tokens/s"),
            (_("Host's work per token"), f"{_spread(answers.host_seconds, 1e3)} ms"),
        ]
    if turn := report.second_turn:
        rows.append(
            (
                _("Second turn"),
                _(
                    "{seconds} s to the first token, {share:.1%} of a cold start's {cold:.3g} s "
                    "({held} tokens so far, {new} new ones)",
                    seconds=_spread(turn.seconds),
                    share=turn.share,
                    cold=turn.cold_seconds,
                    held=turn.conversation_tokens,
                    new=turn.new_tokens,
                ),
            )
        )
    if batch := report.batch:
        rows.append(
            (
                _("Batch of {rows}", rows=batch.rows),
                f"{_spread(batch.tokens_per_second)} tokens/s",
            )
        )
    return rows


def _machine(report: BenchReport) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    if speed := report.weights_bytes_per_second:
        rows.append(
            (
                _("Weights read in decoding"),
                _(
                    "{speed:.3g} GB/s ({size} a token, as the bundle stores them)",
                    speed=speed / 1e9,
                    size=format_bytes(report.subject.decode_bytes),
                ),
            )
        )
    if bandwidth := report.bandwidth:
        rows.append(
            (
                _("Read bandwidth of this machine"),
                _(
                    "{speed:.3g} GB/s ({threads} threads, best of {passes} passes over {size})",
                    speed=bandwidth.bytes_per_second / 1e9,
                    threads=bandwidth.threads,
                    passes=bandwidth.passes,
                    size=format_bytes(bandwidth.buffer_bytes),
                ),
            )
        )
    if share := report.bandwidth_share:
        rows.append((_("Share of it"), f"{share:.0%}"))
    memory = report.memory
    if memory and memory.peak:
        holder = _("worker process") if memory.holder == "worker" else _("this process")
        rows.append((_("Peak memory"), f"{format_bytes(memory.peak)} ({holder})"))
    return rows
