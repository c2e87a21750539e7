"""`glmlite quantize` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from glmlite.cli.quantize import quantize
from glmlite.errors import ConfigError, ExportError
from glmlite.quant.report.place import check_page
from tests.cli.conftest import write_bundle


def run(*arguments: object) -> str:
    result = CliRunner().invoke(quantize, [str(a) for a in arguments], catch_exceptions=True)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_print_command_runs_nothing(tiny: Path, package, small_recipe, tmp_path: Path) -> None:
    root = package.make("raise SystemExit('it was run')")
    text = run(
        tiny, "--recipe", small_recipe(), "--print-command", "--converter", root,
        "--output", tmp_path / "out",
    )  # fmt: skip
    assert text.count(f"{package.tool} ") == 2
    assert text.count("[weight_quant_param]") == 2
    assert f"--outputFile={tmp_path / 'out' / 'decode_t1_s96_b1'}" in text
    assert not (root / "record.jsonl").exists()
    assert not (tmp_path / "out").exists()


def test_print_command_needs_no_converter(tiny: Path, small_recipe) -> None:
    text = run(tiny, "--recipe", small_recipe(), "--print-command")
    assert "Download mindspore-lite-VERSION-linux-ARCH.tar.gz" in text
    tool = "    mindspore-lite-VERSION-linux-ARCH/tools/converter/converter/converter_lite "
    assert text.count(tool) == 2
    assert text.count("[weight_quant_param]") == 2


def test_accuracy_only_needs_no_converter_and_writes_nothing(
    tiny: Path, small_recipe, tmp_path: Path
) -> None:
    recipe = small_recipe()
    before = sorted(tmp_path.rglob("*"))
    text = run(tiny, "--recipe", recipe, "--accuracy-only")
    for line in ("Measured on", "random ids, 511 tokens", "Perplexity", "KL divergence", "%"):
        assert line in text
    result = CliRunner().invoke(
        quantize, [str(tiny), "--recipe", str(recipe), "--accuracy-only", "--json"]
    )
    assert json.loads(result.stdout)["accuracy"]["tokens"] == 511
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.mindspore
def test_portable_ends_with_the_report(bundles, small_recipe, tmp_path: Path) -> None:
    source = bundles.export("glm2", where="here", export__prefill_tokens=[7])
    text = run(source, "--recipe", small_recipe(), "--portable", "--output", tmp_path / "out")
    assert "not half the memory" in text
    assert "Same first choice" in text
    assert "instead of" in text
    with pytest.raises(ExportError, match="a bundle at"):
        run(source, "--recipe", small_recipe(), "--portable", "--output", tmp_path / "out")
    with pytest.raises(ConfigError, match="quantized already"):
        run(tmp_path / "out", "--recipe", small_recipe(), "--accuracy-only")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "lite_cpu_int8"], "--output DIR"),
        (["--recipe", "x", "--output", "o", "--portable", "--print-command"], "no converter"),
        (["--recipe", "x", "--output", "o", "--integer", "int8"], "--portable only"),
        (["--recipe", "x", "--output", "o", "--timeout", "0"], "timeout"),
    ],
)
def test_arguments_that_do_not_fit(arguments: list[str], message: str) -> None:
    assert message in run("bundle", *arguments)


def sizes(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("float/model.onnx", "must end in .html"),
        ("report", "must end in .html"),
        ("nowhere/report.html", "does not exist or cannot be written"),
        ("float/report.html", "lies in the bundle"),
        ("float/weights/report.html", "lies in the bundle"),
        ("other/report.html", "lies in the bundle"),
        ("link/report.html", "lies in the bundle"),
        ("page.html", "lies in the bundle"),
        ("text.html", "must end in .html"),
    ],
)
def test_where_a_report_may_not_be_written(
    float_bundle: Path,
    tmp_path: Path,
    plain: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    said: str,
) -> None:
    write_bundle(tmp_path / "other")
    (tmp_path / "link").symlink_to(float_bundle)
    (tmp_path / "page.html").symlink_to(float_bundle / "tokenizer.model")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "text.html").symlink_to(tmp_path / "notes.txt")
    before = sizes(tmp_path)
    monkeypatch.setattr(
        "glmlite.quant.comparison.compare_recipes", lambda *_a: pytest.fail("measured first")
    )
    with pytest.raises(ConfigError, match=said):
        run(float_bundle, "--recipe", plain, "--accuracy-only", "--report", tmp_path / name)
    assert sizes(tmp_path) == before


@pytest.mark.parametrize("manifest", ['{"name": "my web app"}', '{"schema_version": 1}', "[]", ""])
def test_a_report_may_lie_beside_the_manifest_of_something_else(
    tmp_path: Path, manifest: str
) -> None:
    (tmp_path / "web" / "pages").mkdir(parents=True)
    (tmp_path / "web" / "manifest.json").write_text(manifest)
    check_page(tmp_path / "web" / "report.html")
    check_page(tmp_path / "web" / "pages" / "report.html")


def test_a_report_does_not_lie_in_a_damaged_bundle(tmp_path: Path) -> None:
    manifest = write_bundle(tmp_path / "damaged") / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-20] + b"\xff")
    with pytest.raises(ConfigError, match="lies in the bundle"):
        check_page(tmp_path / "damaged" / "report.html")


def test_a_report_is_replaced_whole(
    float_bundle: Path,
    tmp_path: Path,
    plain: Path,
    short_text: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = tmp_path / "pages" / "report.html"
    page.parent.mkdir()
    page.write_text("older")
    arguments = (
        float_bundle, "--recipe", plain, "--accuracy-only", "--report", page, "--text", short_text,
        "--tokens", 40,
    )  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", _no_room)
        result = CliRunner().invoke(quantize, [str(a) for a in arguments])
    assert "cannot be written" in str(result.exception)
    assert "Perplexity" in result.output
    assert page.read_text() == "older"
    assert list(page.parent.iterdir()) == [page]
    assert "Perplexity" in run(*arguments)
    assert "</html>" in page.read_text(encoding="utf-8")
    assert list(page.parent.iterdir()) == [page]


def _no_room(*_arguments: object) -> None:
    raise OSError(28, "No space left on device")
