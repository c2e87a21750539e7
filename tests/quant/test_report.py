"""The report's page: whole, escaped, self-contained, in both languages, with and without plots."""

from __future__ import annotations

import dataclasses
import html.parser
import re
from pathlib import Path

import pytest

from glmlite import i18n
from glmlite.model.config import from_huggingface
from glmlite.progress import NoProgress
from glmlite.quant.accuracy import AccuracyReport, Candidate, measure
from glmlite.quant.activations import Rounding
from glmlite.quant.report import plots, write_report
from glmlite.quant.report.markup import Markup, join, tag
from glmlite.quant.report.words import percent, place, size
from glmlite.quant.sample import DEMO_CORPUS, cut
from tests.fixtures.models import MODELS
from tests.quant.networks import Network

HOSTILE = '<script src="http://evil.example/x.js">&"\'\u202e\x07'
VOID = {"meta"}


class Page(html.parser.HTMLParser):
    """What a page is made of; refuses elements that are not closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def says(self, words: str) -> bool:
        return words in "".join(self.text)


@pytest.fixture(scope="module")
def reports() -> list[AccuracyReport]:
    network = Network()
    sample = cut(HOSTILE, [*range(10, 50)], [7, 8])
    return measure(
        network.config,
        network.weights,
        [
            Candidate("fine" + HOSTILE, network.rounded_to(0.005), bytes=3_600_000_000),
            Candidate(
                "coarse",
                network.rounded,
                {n: Rounding() for n in network.matrices},
                schemes=dict.fromkeys(network.matrices, "int8" + HOSTILE),
            ),
            Candidate("same", network.weights),
        ],
        sample,
        NoProgress(),
    )


@pytest.fixture
def write(tmp_path: Path):
    def written(reports: list[AccuracyReport]) -> Page:
        path = tmp_path / "report.html"
        write_report(path, reports, "glm2", from_huggingface(MODELS["glm2"].config))
        return Page(path)

    return written


@pytest.fixture
def chinese(monkeypatch):
    monkeypatch.setenv("GLMLITE_LANG", "zh")
    i18n.language.cache_clear()
    yield
    monkeypatch.undo()
    i18n.language.cache_clear()


@pytest.mark.parametrize("which", [slice(1), slice(1, 2), slice(2, 3), slice(3)])
def test_a_page_needs_nothing_and_runs_nothing(write, reports, which) -> None:
    page = write(reports[which])
    assert "script" not in page.tags
    assert not {"link", "img", "iframe", "object", "image", "foreignobject"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "xlink:href", "action"):
            assert value.startswith("#")
    assert "url(" not in page.source.replace("url(#", "")
    assert "@import" not in page.source
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:href="|url\()#([^")]+)', page.source)
    assert set(references) <= set(ids)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08]", page.source)


def test_a_link_stays_a_link_and_a_name_may_be_long(tmp_path: Path, reports) -> None:
    page, link = tmp_path / "pages" / ("p" * 250 + ".html"), tmp_path / "link.html"
    page.parent.mkdir()
    link.symlink_to(page)
    for _time in range(2):
        write_report(link, reports[:1], "glm2", from_huggingface(MODELS["glm2"].config))
        assert link.is_symlink()
        assert list(page.parent.iterdir()) == [page]
        assert "</html>" in page.read_text(encoding="utf-8")


def test_figures_are_on_the_page(write, reports) -> None:
    fine = reports[0].entry
    page = write(reports[:1])
    for words in (
        f"{fine.perplexity / fine.perplexity_before - 1:+.2%}",
        f"{fine.perplexity_before:.5g}",
        f"{fine.top1:.2%}",
        f"{fine.kl_mean:.2g}",
        "3.6 GB",
        place(fine.tensors[0].name),
        percent(fine.tensors[0].output_error),
        'fine<script src="http://evil.example/x.js">&"\'',
        f"All {len(reports[0].tensors)} matrices",
    ):
        assert page.says(words), words
    everything = write(reports)
    assert everything.says("3 recipes compared")
    assert everything.says("same stays closest to the float weights")
    assert everything.says("No matrix is other than before.")
    assert everything.says("int8 per token")
    # "same" costs nothing, in no direction.
    assert everything.says("0.00%")
    assert not re.search(r"[+-]0\.00%", everything.source)


def test_plots_follow_the_page(write, reports) -> None:
    pytest.importorskip("matplotlib")
    page = write(reports[:2])
    assert page.tags.count("svg") == 5
    labels = [value for name, value in page.attributes if name == "aria-label"]
    assert len(set(labels)) == 5
    drawn = page.source[page.source.index("<svg") :]
    # Every colour is one of the page's own, for light and dark.
    assert not re.search(r"(?:fill|stroke): (?!none|var\(--)", drawn)
    assert "font-family" not in drawn
    assert write(reports[:2]).source == page.source


def test_a_line_is_where_its_values_are() -> None:
    """Twice the value is twice as high above the axis."""
    pytest.importorskip("matplotlib")
    svg = plots.plot_lines([plots.Series("x", [0, 1, 2, 3], [0, 10, 20, 5])], "p", "what")
    (path,) = re.findall(r'<path d="([^"]*)"[^>]*stroke: var\(--c0\)', svg)
    height = [-float(y) for _x, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path)]
    above = [y - height[0] for y in height]
    assert above[2] > 0
    assert [round(y / above[2], 3) for y in above] == [0, 0.5, 1, 0.25]


def test_without_matplotlib_the_page_says_what_to_install(write, reports, monkeypatch) -> None:
    monkeypatch.setattr(plots, "is_available", lambda: False)
    page = write(reports[:1])
    assert "svg" not in page.tags
    assert page.says("pip install 'glmlite[plots]'")
    assert page.tags.count("table") == 2


def test_in_chinese(write, reports, chinese) -> None:
    entry = dataclasses.replace(reports[0].entry, text=DEMO_CORPUS)
    assert write([dataclasses.replace(reports[0], entry=entry)]).says("演示语料")
    page = write(reports)
    assert ("lang", "zh-CN") in page.attributes
    assert page.says("困惑度")
    assert page.says("误差最大的矩阵")
    english = [w for w in re.findall("[A-Za-z]{4,}", "".join(page.text)) if w in _WORDS]
    assert english == []


_WORDS = {"Perplexity", "Recipe", "Matrix", "Weights", "Inputs", "Outlier", "measured", "error"}


def test_markup_escapes_what_is_no_markup() -> None:
    assert tag("b", "<i>", class_='"') == '<b class="&quot;">&lt;i&gt;</b>'
    assert join("&", Markup("&amp;")) == "&amp;&amp;"
    assert tag("p", tag("b", "x")) == "<p><b>x</b></p>"


def test_numbers_in_words() -> None:
    assert [percent(x) for x in (0, 0.5, 0.0123, 1e-5)] == ["0.00%", "50.00%", "1.23%", "1.0e-05"]
    assert [size(x) for x in (None, 999, 1500, 999_900)] == ["", "999 B", "1.5 kB", "1 MB"]
    name = "transformer.encoder.layers.12.self_attention.dense.weight"
    assert place(name).replace("\u00a0", " ") == "12 · dense"
    assert place("transformer.output_layer.weight") == "output_layer"
