"""`glmlite plan`: estimates, comparisons, and the ini files for Lite."""

from __future__ import annotations

import json
import re

import pytest

from tests.toolchain.files import write_mindir

GIVEN = ["--memory", "24", "--bandwidth", "15", "--compute", "0.15"]


def test_a_recipe_without_its_checkpoint(glmlite_command, tmp_path):
    result = glmlite_command(
        "plan", "--config", "glm2_6b", "--set", "model.dtype=float16", "--device", "910b"
    )
    assert result.returncode == 0, result.stderr
    for text in (
        "Ascend 910B, 64 GB",
        "float16, mindir, batch 1, cache 2048, chunks of 256",
        "Weights                  11.6 GiB",
        "minutes: GE compiles 3 graphs",
        "Fits: 14.9 GiB of 64 GiB on 910b.",
        "Largest batch",
        "Reckoned with",
        "MindFormers' pages",
    ):
        assert text in result.stdout
    assert not list(tmp_path.glob("build*"))


def test_what_does_not_fit_says_what_would(glmlite_command):
    result = glmlite_command("plan", "--config", "glm2_6b", "--device", "cpu", *GIVEN)
    assert result.returncode == 0, result.stderr
    assert "Does not fit: 24.4 GiB; cpu has 22.4 GiB." in result.stdout
    assert "What would fit:\n  float16 weights (mindspore)" in result.stdout
    assert "int4 weights (onnx): 3." in result.stdout


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_what_is_no_number(glmlite_command, value):
    result = glmlite_command(
        "plan", "--config", "glm2_6b", "--device", "910b", "--bandwidth", value
    )
    assert result.returncode == 2
    assert f"{value} is no finite number" in result.stderr


def test_json_is_in_bytes_and_seconds(glmlite_command):
    result = glmlite_command(
        "plan", "--config", "glm3_6b", "--device", "310p", "--weights", "int8", "--json"
    )
    data = json.loads(result.stdout)
    (found,) = data["estimates"]
    assert found["weights"] == "int8"
    assert found["memory"]["weights"] == sum(
        (28 * 4096 * (4608 + 4096 + 27392 + 13696), 65024 * 4096)  # integers
    ) + 2 * (65024 * 4096 + 28 * (2 * 4096 + 4608) + 4096) + 8 * (
        28 * (4608 + 4096 + 27392 + 4096) + 65024
    )
    assert found["load_seconds"] is None
    assert {"peaks", "reserve", "read_share", "int8_gain"} <= set(data["factors"])
    assert all("source" in entry for entry in data["factors"].values())
    assert [room["weights"] for room in data["room"]] == ["float16", "int8"]


def test_recipes_side_by_side_and_chinese(glmlite_command):
    result = glmlite_command(
        "plan", "--config", "glm2_6b", "--config", "glm3_6b_32k", "--device", "910a",
        GLMLITE_LANG="zh",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    for text in ("glm2_6b", "glm3_6b_32k", "解码", "内存"):
        assert text in result.stdout


def test_compare_lists_all_weights(glmlite_command):
    result = glmlite_command(
        "plan", "--config", "glm2_6b", "--compare", "--set", "export.format=onnx", *GIVEN
    )
    assert result.returncode == 0, result.stderr
    for text in ("float32", "float16", "int8", "w8a8", "int4", "int4_w8a8", "What fits"):
        assert text in result.stdout


INT4_W8A8 = ["plan", "--config", "glm2_6b", "--set", "export.format=onnx", "--weights", "int4_w8a8"]


def test_kernels_are_measured(glmlite_command):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    given = ("--memory", "24", "--bandwidth", "31")
    result = glmlite_command(*INT4_W8A8, *given)
    assert result.returncode == 0, result.stderr
    assert re.search(r"Products in ONNX Runtime +float32 [\d.]+, int8 [\d.]+, w8a8", result.stdout)
    assert "ONNX Runtime's kernels, measured on this machine" in result.stdout
    found = json.loads(glmlite_command(*INT4_W8A8, *given, "--json").stdout)["estimates"][0]
    assert found["weights"] == "int4_w8a8"
    assert found["prefill"]["value"] > 2 * found["decode"]["value"]


def test_kernels_that_are_not_measured(glmlite_command, tmp_path):
    """For another machine's --compute, and where ONNX Runtime is missing."""
    other = glmlite_command(*INT4_W8A8, "--memory", "24", "--compute", "0.15")
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('none')", encoding="ascii")
    missing = glmlite_command(*INT4_W8A8, "--threads", "1", PYTHONPATH=str(tmp_path))
    for result in (other, missing):
        assert result.returncode == 0, result.stderr
        assert "Products in ONNX Runtime" not in result.stdout
        assert "4 (2 … 8.5): assumed from other machines" in result.stdout


def test_this_machine_is_measured(glmlite_command, demo_bundle):
    data = json.loads(glmlite_command("plan", demo_bundle, "--threads", "1", "--json").stdout)
    (found,) = data["estimates"]
    assert found["name"] == "demo"
    assert found["decode"]["value"] > 1
    assert found["memory"]["capacity"] > 1 << 28


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "glm2_6b", "--device", "910c"], "nearest is 910b. All: 910b, 910a, 310p"),
        (["--config", "glm2_6c"], "Did you mean glm2_6b"),
        ([], "Name a bundle, or a recipe"),
        (["build/nothing", "--device", "910a"], "There is no bundle at"),
        (["--config", "glm2_6b", "--device", "910a", "--threads", "2"], "belongs to --device cpu"),
        (["--config", "glm2_6b", "--write-config", "x"], "needs a bundle"),
        (["--config", "glm2_6b", "--gears", "1x1x1"], "go with --write-config"),
        (["x", "--set", "a=1"], "a bundle is as it is"),
        (["--config", "glm2_6b", "--engine", "onnx", *GIVEN], "does not run graphs of format"),
        (["--config", "glm2_6b", "--device", "910b", "--engine", "onnx"], "does not run on 910b"),
    ],
)
def test_bad_input(glmlite_command, arguments, message):
    result = glmlite_command("plan", *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


# --- --write-config -------------------------------------------------------------------------------


def test_ini_files_for_a_runner_of_ones_own(glmlite_command, demo_bundle, tmp_path):
    folder = tmp_path / "lite"
    result = glmlite_command("plan", demo_bundle, "--write-config", folder)
    assert result.returncode == 0, result.stderr
    assert [p.name for p in folder.iterdir()] == ["decode.ini"]  # this bundle has no prefill graph
    text = (folder / "decode.ini").read_text(encoding="utf-8")
    assert "provider=ge" in text
    assert "[glmlite]" not in text
    again = glmlite_command("plan", demo_bundle, "--write-config", folder)
    assert again.returncode == 2
    assert "is there already" in again.stderr
    printed = glmlite_command("plan", demo_bundle, "--write-config", "-").stdout
    assert printed == f"# decode.ini\n{text}\n"
    before = {p: p.read_bytes() for p in demo_bundle.rglob("*") if p.is_file()}
    assert not [p for p in before if p.suffix == ".ini"]


def test_variables_are_refused_where_they_are_not_safe(glmlite_command, demo_bundle, tmp_path):
    config = tmp_path / "v.ini"
    config.write_text("[glmlite]\ncache=variables\n[ascend_context]\nprovider=ge\n")
    result = glmlite_command("plan", demo_bundle, "--write-config", "-", "--engine-config", config)
    assert result.returncode == 2
    assert "is no MindIR" in result.stderr  # this bundle's graph is an empty file
    assert result.stdout == ""


def test_gears_need_a_graph(glmlite_command, tmp_path):
    write_mindir(tmp_path / "g.mindir", version=1)
    result = glmlite_command(
        "plan", tmp_path / "g.mindir", "--write-config", "-", "--gears", "1x32x512,1x128x512"
    )
    assert result.returncode == 2
    assert "The graph has 0 inputs" in result.stderr
    result = glmlite_command(
        "plan", tmp_path / "g.mindir", "--write-config", "-", "--gears", "1x32x512,1x32x512"
    )
    assert "1x32x512 is listed twice" in result.stderr
