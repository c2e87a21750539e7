"""Numbers and names as the report shows them."""

from __future__ import annotations

import re

from glmlite.i18n import _
from glmlite.model.parameters import OUTPUT
from glmlite.quant.accuracy import AccuracyReport
from glmlite.quant.wording import perplexity_change, signed_percent

_LAYER = re.compile(r"transformer\.encoder\.layers\.(\d+)\.(?:self_attention|mlp)\.(\w+)\.weight")
# The matrices of a layer, in the order of computing, as `kind_of` names them.
KINDS = ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")


def kind_of(name: str) -> tuple[str, int | None]:
    """A parameter's kind of matrix, and its layer, counted from 0; None outside the layers."""
    if found := _LAYER.fullmatch(name):
        return found[2], int(found[1])
    return ("output_layer" if name == OUTPUT else name), None


def place(name: str) -> str:
    """A parameter's name in short: "3 · dense_4h_to_h", with the layer counted from 0."""
    kind, layer = kind_of(name)
    return kind if layer is None else f"{layer}\u00a0·\u00a0{kind}"


def percent(share: float) -> str:
    """A share with enough digits to tell small ones from none."""
    return f"{share:.2%}" if share >= 1e-3 or share == 0 else f"{share:.1e}"


def span(low: float, high: float) -> str:
    """A range."""
    return f"{low:.3g} … {high:.3g}"


def size(count: int | None) -> str:
    """Bytes in decimal units, as disks count them; nothing for None."""
    if count is None:
        return ""
    amount, units = float(count), iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while amount >= 999.5 and unit != "TB":
        amount, unit = amount / 1000, next(units)
    return f"{amount:.3g} {unit}"


def verdict(report: AccuracyReport) -> str:
    """The whole report in a sentence or two."""
    entry = report.entry
    parts = [
        _(
            "With {recipe}, perplexity changes by {change} and {same} of the first choices stay "
            "the same.",
            recipe=report.name,
            change=signed_percent(perplexity_change(entry)),
            same=percent(entry.top1),
        )
    ]
    if entry.tensors:
        parts.append(
            _(
                "{matrix} loses most: its products are off by {error}.",
                matrix=place(entry.tensors[0].name),
                error=percent(entry.tensors[0].output_error),
            )
        )
    return " ".join(parts)
