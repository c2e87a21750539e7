"""What settings of an export say where a checkpoint or a bundle is quantized for CPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import glmlite
from glmlite.bundle import Bundle
from glmlite.cli.quantize import quantize
from glmlite.demo import CHECKPOINT
from glmlite.errors import ConfigError
from tests.quant.conftest import Stages

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

# Nothing is measured; the weights alone are quick.
QUICK = {"accuracy": False, "parity": False}


def run(*arguments: object) -> Any:
    return CliRunner().invoke(quantize, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("export.format=mindir", "export.format is mindir .* ONNX graphs"),
        ("export.output=yy", "export.output is yy .* --output names"),
        ("export.flavor=standard", "flavor ort"),
        ("export.parity=layers:2", "all layers are compared"),
        ("model.dtype=float16", "the rest is float32"),
        ("model.checkpoint=elsewhere", "the command line names"),
        ("export={format: mindir}", "export.format is mindir"),
    ],
)
def test_settings_that_would_do_nothing(
    tmp_path: Path, plain: Path, setting: str, said: str
) -> None:
    result = run(CHECKPOINT, "--recipe", plain, "--output", tmp_path / "out", "--set", setting)
    assert isinstance(result.exception, ConfigError)
    with pytest.raises(ConfigError, match=f"--set {said}.*would do nothing|{said}") as found:
        raise result.exception
    assert "would do nothing" in str(found.value)
    assert not (tmp_path / "out").exists()
    result = run(CHECKPOINT, "--recipe", plain, "--accuracy-only", "--set", setting)
    assert "would do nothing" in str(result.exception)


@pytest.mark.parametrize(
    "setting",
    ["export.format=onnx", "export.flavor=ort", "model.dtype=float32", "export.format=null"],
)
def test_settings_that_say_what_is_done_anyway(tmp_path: Path, plain: Path, setting: str) -> None:
    glmlite.quantize(CHECKPOINT, recipe=plain, output=tmp_path / "out", settings=[setting], **QUICK)


@pytest.mark.parametrize("value", ["off", "full", None])
def test_parity_as_the_setting_or_the_export_recipe_says(
    tmp_path: Path, plain: Path, value: str | None
) -> None:
    config = tmp_path / "own.yaml"
    config.write_text(f"export: {{cache_length: 64, prefill_tokens: 16, parity: {value or 'off'}}}")
    more: dict[str, Any] = {"config": config} if value is None else {}
    if value is not None:
        more["settings"] = ["export.cache_length=64", "export.prefill_tokens=16"]
        more["settings"].append(f"export.parity={value}")
    path = glmlite.quantize(
        CHECKPOINT, recipe=plain, output=tmp_path / "out", accuracy=False, **more
    )
    assert bool(Bundle.open(path).manifest.parity) == (value == "full")


def test_an_export_recipe_may_say_what_exports_need(tmp_path: Path, plain: Path) -> None:
    """It was written for `glmlite export`, and tells here how the checkpoint is read."""
    config = tmp_path / "own.yaml"
    config.write_text(
        "model: {checkpoint: elsewhere, dtype: float16}\n"
        "export: {output: nowhere, format: mindir, cache_length: 128}\n"
    )
    path = glmlite.quantize(
        CHECKPOINT, recipe=plain, output=tmp_path / "out", config=config, **QUICK
    )
    (length,) = {graph.cache_length for graph in Bundle.open(path).manifest.graphs}
    assert length == 128


@pytest.mark.parametrize("as_bundle", [True, False])
def test_another_flavor_is_told(tmp_path: Path, plain: Path, as_bundle: bool) -> None:
    stages = Stages()
    if as_bundle:
        source = glmlite.export(
            "demo", output=tmp_path / "standard", format="onnx", flavor="standard", parity="off"
        )
        made = glmlite.quantize(
            source, recipe=plain, output=tmp_path / "out", progress=stages, **QUICK
        )
    else:
        config = tmp_path / "own.yaml"
        config.write_text("export: {format: onnx, flavor: standard}\n")
        made = glmlite.quantize(
            CHECKPOINT, recipe=plain, output=tmp_path / "out", progress=stages, config=config,
            **QUICK,
        )  # fmt: skip
    assert {graph.flavor for graph in Bundle.open(made).manifest.graphs} == {"ort"}
    assert [told for told in stages.told if "flavor is ort, not standard" in told]


def test_the_same_flavor_is_not_told(float_bundle: Path, tmp_path: Path, plain: Path) -> None:
    stages = Stages()
    glmlite.quantize(float_bundle, recipe=plain, output=tmp_path / "out", progress=stages, **QUICK)
    assert not [told for told in stages.told if "flavor" in told]


@pytest.mark.parametrize("option", ["--timeout", "--converter", "--toolchain"])
@pytest.mark.parametrize("what", ["bundle", "figures"])
def test_options_of_converters(tmp_path: Path, plain: Path, option: str, what: str) -> None:
    goal = ("--output", tmp_path / "out") if what == "bundle" else ("--accuracy-only",)
    result = run(CHECKPOINT, "--recipe", plain, *goal, option, "60")
    assert "Leave --converter, --portable, --timeout and --toolchain out" in str(result.exception)
    assert not (tmp_path / "out").exists()
