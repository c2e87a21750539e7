"""The report's figures: a title, a legend, a plot, and what its axes are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from glmlite.i18n import _
from glmlite.quant.accuracy import AccuracyReport
from glmlite.quant.report.markup import Markup, tag
from glmlite.quant.report.plots import COLOURS, Series, plot_lines
from glmlite.quant.report.words import KINDS, kind_of
from glmlite.quant.tensor_errors import TensorReport


def errors(reports: Sequence[AccuracyReport]) -> list[Markup]:
    """Error of the hidden states over the layers; error of each matrix' products."""
    states = [
        Series(r.name, list(range(len(r.entry.layers))), [100 * e for e in r.entry.layers])
        for r in reports
    ]
    made = [
        _figure(
            "states",
            _("Error that adds up"),
            states,
            _("Error of the hidden states in percent, after the embedding (0) and each layer"),
        )
    ]
    if len(reports) == 1:
        made.append(
            _figure(
                "products",
                _("Error of each matrix by itself"),
                _by_kind(reports[0], lambda t: 100 * t.output_error),
                _("Relative error of its products in percent, by layer from 0 on"),
            )
        )
    else:
        made.append(
            _figure(
                "kl",
                _("Error of all matrices of a layer"),
                [_mean_by_layer(report) for report in reports],
                _("Mean relative error of their products in percent, by layer from 0 on"),
            )
        )
    return made


def ranges(report: AccuracyReport) -> list[Markup]:
    """Largest inputs and weights over the layers, from the float network."""
    return [
        _figure(
            "inputs",
            _("Inputs"),
            _by_kind(report, lambda t: max(abs(t.input_min), abs(t.input_max))),
            _("Largest absolute value that enters each matrix"),
            small=True,
        ),
        _figure(
            "outliers",
            _("Outlier channels"),
            _by_kind(report, lambda t: t.outlier),
            _("Largest input channel over the median one"),
            small=True,
        ),
        _figure(
            "weights",
            _("Weights"),
            _by_kind(report, lambda t: max(abs(t.weight_min), abs(t.weight_max))),
            _("Largest absolute weight of each matrix"),
            small=True,
        ),
    ]


def _by_kind(report: AccuracyReport, value: Callable[[TensorReport], float]) -> list[Series]:
    """One line for each kind of matrix; the output layer is a dot behind the last layer."""
    layers = 1 + max((kind_of(t.name)[1] or 0 for t in report.tensors), default=0)
    series = []
    for kind in (*KINDS, "output_layer"):
        points = [
            (layers if place is None else place, value(t))
            for t in report.tensors
            for found, place in (kind_of(t.name),)
            if found == kind
        ]
        series.append(Series(kind, [x for x, _y in points], [y for _x, y in points]))
    return [line for line in series if line.x]


def _mean_by_layer(report: AccuracyReport) -> Series:
    values: dict[int, list[float]] = {}
    for tensor in report.tensors:
        layer = kind_of(tensor.name)[1]
        if layer is not None:
            values.setdefault(layer, []).append(100 * tensor.output_error)
    return Series(report.name, list(values), [sum(v) / len(v) for v in values.values()])


def _figure(
    name: str, title: str, series: Sequence[Series], caption: str, *, small: bool = False
) -> Markup:
    """Small ones stand three in a row and have logarithmic values."""
    legend = [
        tag("span", tag("i", style=f"background: var(--c{i % COLOURS})"), line.label)
        for i, line in enumerate(series)
    ]
    return tag(
        "figure",
        tag("b", title),
        plot_lines(series, name, f"{title}. {caption}", width=3.9 if small else 5.6, log=small),
        tag("div", *legend, class_="legend"),
        tag("figcaption", caption),
    )
