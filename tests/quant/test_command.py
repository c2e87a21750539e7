"""`glmlite quantize` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from glmlite.cli.quantize import quantize
from glmlite.errors import ConfigError, ExportError


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
