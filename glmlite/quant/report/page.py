"""The page: what quantization cost, in figures, plots and tables."""

from __future__ import annotations

from collections.abc import Sequence

from glmlite.i18n import _, language
from glmlite.quant.accuracy import AccuracyReport
from glmlite.quant.report import figures, plots
from glmlite.quant.report.markup import Markup, join, table, tag
from glmlite.quant.report.style import STYLE
from glmlite.quant.report.words import percent, place, size, span, verdict
from glmlite.quant.wording import perplexity_change, rounded, signed_percent, text_name


def render(reports: Sequence[AccuracyReport], model: str) -> str:
    """A whole HTML page.

    Args:
        reports: of one bundle, or of several recipes on the same text.
        model: one line that says which model it is.
    """
    title = (
        _("Accuracy of {recipe}", recipe=reports[0].name)
        if len(reports) == 1
        else _("{count} recipes compared", count=len(reports))
    )
    entry = reports[0].entry
    measured = _(
        "{tokens} tokens of “{text}”, in windows of {window}",
        tokens=entry.tokens,
        text=text_name(entry.text),
        window=entry.window,
    )
    parts = [tag("h1", title), tag("p", f"{model} · {measured}", class_="soft")]
    if len(reports) == 1:
        parts += [tag("p", verdict(reports[0]), class_="verdict"), _cards(reports[0])]
    else:
        closest = min(reports, key=lambda report: report.entry.kl_mean)
        best = _("{recipe} stays closest to the float weights.", recipe=closest.name)
        parts += [tag("p", f"{best} {verdict(closest)}", class_="verdict"), comparison(reports)]
    parts += _plots(reports)
    parts += [tag("h2", _("Worst matrices")), tag("p", _explain(), class_="soft")]
    for report in reports:
        inside = _matrices(report)
        if len(reports) > 1:
            inside = [tag("details", tag("summary", report.name), *inside)]
        parts += inside
    parts += _method(reports)
    head = join(
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", f"{title} · glmlite"),
        Markup(f"<style>{STYLE}</style>"),
    )
    lang = "zh-CN" if language() == "zh" else "en"
    page = tag("html", tag("head", head), tag("body", tag("main", *parts)), lang=lang)
    return f"<!DOCTYPE html>\n{page}\n"


def _cards(report: AccuracyReport) -> Markup:
    entry = report.entry
    cards = [
        (
            _("Perplexity"),
            signed_percent(perplexity_change(report.entry)),
            _(
                "from {before:.5g} to {after:.5g}; how surprised the model is by the text",
                before=entry.perplexity_before,
                after=entry.perplexity,
            ),
        ),
        (
            _("Same first choice"),
            percent(entry.top1),
            _("of the tokens whose likeliest successor stayed the same"),
        ),
        (
            _("KL divergence"),
            f"{entry.kl_mean:.2g}",
            _(
                "nats on average, {most:.2g} at most; how far the choices moved",
                most=entry.kl_max,
            ),
        ),
    ]
    if report.bytes is not None:
        cards.append((_("Weights"), size(report.bytes), _("in the bundle's weights file")))
    return tag(
        "div",
        *(
            tag("div", tag("span", name), tag("b", value), tag("span", note, class_="soft"),
                class_="card")
            for name, value, note in cards
        ),
        class_="cards",
    )  # fmt: skip


def comparison(reports: Sequence[AccuracyReport]) -> Markup:
    """One row for each recipe."""
    rows = [
        [
            report.name,
            size(report.bytes),
            f"{report.entry.perplexity:.5g}",
            signed_percent(perplexity_change(report.entry)),
            f"{report.entry.kl_mean:.2g}",
            f"{report.entry.kl_max:.2g}",
            percent(report.entry.top1),
        ]
        for report in reports
    ]
    float_row = [_("float weights"), "", f"{reports[0].entry.perplexity_before:.5g}"]
    return table(
        [
            _("Recipe"),
            _("Weights"),
            _("Perplexity"),
            _("Change"),
            _("KL mean"),
            _("KL max"),
            _("Same first choice"),
        ],
        [[*float_row, "", "", "", ""], *rows],
    )


def _plots(reports: Sequence[AccuracyReport]) -> list[Markup]:
    head = [tag("h2", _("Where the error arises"))]
    if not plots.is_available():
        command = tag("code", "pip install 'glmlite[plots]'")
        missing = _("The plots are missing: matplotlib is not installed. To have them:")
        return [*head, tag("p", join(missing, " ", command), class_="soft")]
    return [
        *head,
        tag("div", *figures.errors(reports), class_="plots"),
        tag("h2", _("Ranges")),
        tag("div", *figures.ranges(reports[0]), class_="plots three"),
    ]


def _matrices(report: AccuracyReport) -> list[Markup]:
    """The worst matrices, and all of them behind a fold."""
    if not report.entry.tensors:
        return [tag("p", _("No matrix is other than before."))]
    heads = [
        _("Matrix"),
        _("Stored as"),
        _("Its input"),
        _("Output error"),
        _("Weight error"),
        _("Weights"),
        _("Inputs"),
        _("Outlier"),
    ]
    largest = report.entry.tensors[0].output_error
    rows = {
        t.name: [
            tag("span", place(t.name), title=t.name),
            t.scheme or ("–" if t.is_quantized else _("float")),
            rounded(t.rounding),
            _bar(t.output_error, largest),
            percent(t.weight_error),
            span(t.weight_min, t.weight_max),
            span(t.input_min, t.input_max),
            f"{t.outlier:.3g} ×",
        ]
        for t in report.tensors
    }
    return [
        table(heads, [rows[tensor.name] for tensor in report.entry.tensors], text_columns=3),
        tag(
            "details",
            tag("summary", _("All {count} matrices", count=len(rows))),
            table(heads, list(rows.values()), text_columns=3),
        ),
    ]


def _explain() -> str:
    return _(
        "Output error: how far a matrix' products with what enters it lie from the float ones, "
        "relative, on average over tokens. Weight error: the same of the matrix itself. Inputs and "
        "weights: smallest to largest value. Outlier: how far the largest input channel stands "
        "above the median one."
    )


def _bar(value: float, largest: float) -> Markup:
    share = 100 * value / largest if largest else 0
    style = (
        f"background: linear-gradient(to left, var(--bar) {share:.0f}%, transparent {share:.0f}%)"
    )
    return tag("span", percent(value), class_="bar", style=style)


def _method(reports: Sequence[AccuracyReport]) -> list[Markup]:
    rules = sorted({rounded(t.rounding) for report in reports for t in report.tensors})
    return [
        tag("h2", _("How this was measured")),
        tag(
            "p",
            _(
                "Both networks read the text side by side in float32 NumPy, with the weights as "
                "they are stored. Every token that counts is predicted once, from what precedes it "
                "in its window. What enters the matrices is rounded as the engine rounds it: "
                "{rounding}.",
                rounding="; ".join(rules),
            ),
        ),
        tag(
            "p",
            _(
                "Look at changes, not at absolute perplexities: a chat model finds any text odd "
                "that is no dialogue."
            ),
        ),
    ]
