"""The bar that a quantized model has to hold before it is written."""

from __future__ import annotations

from glmlite.bundle.accuracy import AccuracyEntry
from glmlite.errors import AccuracyError, ConfigError
from glmlite.quant.sample import Sample
from glmlite.quant.wording import perplexity_change, text_name


def require_text(sample: Sample) -> None:
    """Refuse to hold a model against a bar on random ids.

    Raises:
        ConfigError: the sample is no text.
    """
    if not sample.is_text:
        raise ConfigError(
            "--max-ppl-increase needs a text, and without a tokenizer there is none.",
            hint="Leave it out, or quantize a bundle that has a tokenizer.",
        )


def check_bar(entry: AccuracyEntry, max_increase: float) -> None:
    """See that a quantized model is good enough to be written.

    Args:
        entry: what was measured.
        max_increase: of the perplexity, in percent.

    Raises:
        AccuracyError: the perplexity rose by more.
    """
    increase = 100 * perplexity_change(entry)
    if increase <= max_increase:
        return
    raise AccuracyError(
        "The perplexity of {text} rises from {before:.5g} to {after:.5g}, by {increase:.3g} %; "
        "{most:g} % are allowed. Nothing was written.",
        hint="The matrices that lost most are {worst}. Give them more bits in a copy of the "
        "recipe, take another recipe, or allow more: --max-ppl-increase PERCENT",
        text=text_name(entry.text),
        before=entry.perplexity_before,
        after=entry.perplexity,
        increase=increase,
        most=max_increase,
        worst=", ".join(tensor.name for tensor in entry.tensors[:3]) or "-",
    )
