"""What `glmlite quantize` says: the price beforehand, the accuracy afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from glmlite.cli.formatting import format_bytes
from glmlite.cli.tables import print_pairs, print_table
from glmlite.i18n import _
from glmlite.quant.wording import perplexity_change, rounded, signed_percent, text_name

if TYPE_CHECKING:
    from glmlite.bundle.accuracy import AccuracyEntry
    from glmlite.quant.accuracy import AccuracyReport
    from glmlite.quant.job import Job

FLOAT = "float32"
_SHOWN = 5


def price(job: Job) -> str:
    """One sentence that says what the recipe is good for, and what it is not."""
    if job.options.portable:
        return _(
            "Portable int8: about half of float16's files, not half the memory: on CPUs the "
            "engines turn the weights into float32 as they load."
        )
    if job.recipe.kind == "lite_cpu":
        return _(
            "MindSpore Lite's dynamic int8: the weights take a quarter of float32's size, and "
            "answers about five times as long. It saves disk, not time."
        )
    return _(
        "On-the-fly int8 for Ascend: these graphs run on Ascend only. glmlite has not been run on "
        "such a device."
    )


def print_accuracy(accuracy: AccuracyEntry) -> None:
    """The report as a short table."""
    change = signed_percent(perplexity_change(accuracy))
    print_pairs(
        [
            (
                _("Measured on"),
                _("{text}, {tokens} tokens", text=text_name(accuracy.text), tokens=accuracy.tokens),
            ),
            (
                _("Perplexity"),
                f"{accuracy.perplexity_before:.5g} → {accuracy.perplexity:.5g} ({change})",
            ),
            (
                _("KL divergence"),
                _(
                    "{mean:.2g} nats on average, {most:.2g} at most",
                    mean=accuracy.kl_mean,
                    most=accuracy.kl_max,
                ),
            ),
            (_("Same first choice"), f"{accuracy.top1:.2%}"),
            (_("Hidden states"), _last_layer(accuracy)),
            (
                _("Rounded inputs"),
                "" if accuracy.activations == FLOAT else rounded(accuracy.activations),
            ),
        ]
    )
    if accuracy.tensors:
        click.echo()
        print_table(
            [_("Matrix"), _("Output error"), _("Weight error")],
            [
                [tensor.name, f"{tensor.output_error:.2%}", f"{tensor.weight_error:.2%}"]
                for tensor in accuracy.tensors[:_SHOWN]
            ],
            title=_("Worst matrices"),
            right=(1, 2),
        )


def _last_layer(accuracy: AccuracyEntry) -> str:
    if not accuracy.layers:
        return ""
    return _("{error} off after the last layer", error=f"{accuracy.layers[-1]:.2%}")


def print_comparison(reports: Sequence[AccuracyReport]) -> None:
    """Several recipes on the same text, a row each; the first is the float weights'."""
    first = reports[0].entry
    print_pairs(
        [
            (
                _("Measured on"),
                _("{text}, {tokens} tokens", text=text_name(first.text), tokens=first.tokens),
            )
        ]
    )
    click.echo()
    rows = [["-", _("float weights"), "", f"{first.perplexity_before:.5g}", "", "", "", ""]]
    for report in reports:
        entry = report.entry
        rows.append(
            [
                report.name,
                rounded(entry.activations),
                format_bytes(report.bytes) if report.bytes is not None else "",
                f"{entry.perplexity:.5g}",
                signed_percent(perplexity_change(entry)),
                f"{entry.kl_mean:.2g}",
                f"{entry.kl_max:.2g}",
                f"{entry.top1:.2%}",
            ]
        )
    print_table(
        [
            _("Recipe"),
            _("Rounded inputs"),
            _("Weights"),
            _("Perplexity"),
            _("Change"),
            _("KL mean"),
            _("KL max"),
            _("Same first choice"),
        ],
        rows,
        right=tuple(range(2, 8)),
    )


def comparison_json(reports: Sequence[AccuracyReport]) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "recipes": [
            {"recipe": r.name, "bytes": r.bytes, "accuracy": dataclasses.asdict(r.entry)}
            for r in reports
        ]
    }
