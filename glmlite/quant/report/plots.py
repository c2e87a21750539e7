"""Line plots as inline SVG, by matplotlib from the extra `plots`.

A plot holds lines and numbers only; titles and legends are HTML beside it, in the page's own font
and any language. Its colours are the page's CSS variables, so that it follows light and dark.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Sequence

from glmlite.quant.report.markup import Markup, escape
from glmlite.runtime.engines.interrupts import interrupt_deferred

COLOURS = 6
# What matplotlib is told, and what the page gets.
_INK, _LINE = "#020202", "#030303"
_VARIABLES = {_INK: "var(--soft)", _LINE: "var(--line)"} | {
    f"#0101{i:02d}": f"var(--c{i})" for i in range(COLOURS)
}
_HEIGHT = 2.7  # inches


@dataclasses.dataclass(frozen=True)
class Series:
    """One line of a plot.

    Attributes:
        label: for the legend.
        x: positions. y: values, as many.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]


def is_available() -> bool:
    """Whether matplotlib can be imported."""
    try:
        with interrupt_deferred():
            import matplotlib.figure  # noqa: F401 - only whether it can be
    except ImportError:
        return False
    return True


def plot_lines(
    series: Sequence[Series], name: str, label: str, *, width: float = 5.6, log: bool = False
) -> Markup:
    """An `<svg>` with a line for each series; line i has the page's colour i.

    Args:
        series: at least one, each of at least one point.
        name: prefix of the ids inside, another one for each plot of a page.
        label: says what it shows, for who cannot see it.
        width: in inches, 2.7 high; text keeps its size, so narrow plots are for narrow places.
        log: logarithmic values; those at or below 0 are left out.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    settings = {"svg.fonttype": "none", "svg.hashsalt": name, "axes.unicode_minus": False}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width, _HEIGHT), layout="constrained")
        canvas = FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for number, line in enumerate(series):
            axes.plot(
                line.x,
                line.y,
                color=f"#0101{number % COLOURS:02d}",
                linewidth=1.8,
                linestyle="-" if number < COLOURS else "--",
                marker="o",
                markersize=3.2 if len(line.x) > 1 else 6,
            )
        if log and any(value > 0 for line in series for value in line.y):
            axes.set_yscale("log", nonpositive="mask")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
            axes.yaxis.set_minor_locator(NullLocator())
        elif not log:
            axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
        axes.grid(axis="y", color=_LINE, linewidth=0.8)
        axes.tick_params(colors=_INK, labelcolor=_INK, labelsize=9, length=0, which="both")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(_LINE)
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        written = io.StringIO()
        canvas.print_svg(written, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _clean(written.getvalue(), name, label)


def _clean(svg: str, name: str, label: str) -> Markup:
    """The `<svg>` element alone: no metadata, no fonts or sizes of its own, ids of its own."""
    view_box = re.findall(r'viewBox="([^"]*)"', svg)[0]
    inside = svg[svg.index(">", svg.index("<svg")) + 1 :]
    inside = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", inside, flags=re.S)
    inside = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", inside, flags=re.S)
    # Older ones write `font: 9px 'DejaVu Sans', …`, newer ones `font-size` and `font-family`.
    inside = re.sub(r"\bfont: ([\d.]+px) [^;\"]*", r"font-size: \1", inside)
    inside = re.sub(r"\bfont-family: [^;\"]*;?\s*", "", inside)
    inside = re.sub(r">\s+<", "><", inside)
    inside = re.sub(r'\bid="', f'id="{name}-', inside)
    inside = re.sub(r'xlink:href="#', f'href="#{name}-', inside)
    inside = inside.replace("url(#", f"url(#{name}-")
    for colour, variable in _VARIABLES.items():
        inside = inside.replace(colour, variable)
    opening = f'<svg role="img" aria-label="{escape(label)}" viewBox="{view_box}">'
    return Markup(opening + inside.strip())
