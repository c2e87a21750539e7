"""What `glmlite quantize` says: the price beforehand, the accuracy afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glmlite.cli.tables import print_pairs
from glmlite.i18n import _

if TYPE_CHECKING:
    from glmlite.bundle.accuracy import AccuracyEntry
    from glmlite.quant.job import Job


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
    change = accuracy.perplexity / accuracy.perplexity_before - 1
    print_pairs(
        [
            (
                _("Measured on"),
                _("{text}, {tokens} tokens", text=accuracy.text, tokens=accuracy.tokens),
            ),
            (
                _("Perplexity"),
                f"{accuracy.perplexity_before:.4g} → {accuracy.perplexity:.4g} ({change:+.2%})",
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
        ]
    )
