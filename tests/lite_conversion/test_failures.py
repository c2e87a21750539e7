"""Converters that fail, hang, or write what must not be trusted: nothing is left behind."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from glmlite.errors import ExportError, ParityError
from glmlite.lite_conversion import ConversionOptions, LiteJob, run_conversion
from glmlite.lite_conversion.command import commands, find_converter
from tests.cli.conftest import write_bundle
from tests.lite_conversion.conftest import Package

pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("failures") / "demo")


def job(source: Path, **options: object) -> LiteJob:
    sizes = {"prefill_tokens": (8,), "cache_length": (64,)}
    return LiteJob.open(source, ConversionOptions(**sizes | options))


def left_over(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if "partial" in p.name or p.name == "out")


def test_the_flags_of_a_package(source: Path, package: Package, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/already/there")
    root = package.make()
    planned = commands(job(source, converter=root), tmp_path / "out")
    assert [graph.file for graph, _ in planned] == [
        "prefill_t8_s64_b1.mindir", "decode_t1_s64_b1.mindir",
    ]  # fmt: skip
    with pytest.raises(ExportError, match="wrote 0 graphs"):
        run_conversion(job(source, converter=root), tmp_path / "out")
    (call,) = package.calls  # it ends with the first graph, for nothing came of it
    flags = dict(a[2:].split("=", 1) for a in call["argv"][1:])
    assert flags["fmk"] == "ONNX"
    assert flags["saveType"] == "MINDIR"
    assert Path(flags["modelFile"]).name == "model.onnx"
    assert Path(flags["outputFile"]).name == "prefill_t8_s64_b1"
    shapes = dict(part.rsplit(":", 1) for part in flags["inputShape"].split(";"))
    assert shapes["input_ids"] == "1,8"
    assert shapes["valid_length"] == "1"
    assert shapes["past.2.key"] == "1,2,64,32"
    assert call["env"]["LITE_HOME"] == str(root)
    assert call["env"]["LD_LIBRARY_PATH"].endswith("/already/there")
    assert [a.split("/")[-1] for a in planned[0][1].argv] == [
        a.split("/")[-1] for a in call["argv"]
    ]
    assert left_over(tmp_path) == []


def test_what_it_is_given_is_a_valid_onnx_model(source: Path, package: Package, tmp_path: Path):
    body = (
        "import onnx; file = next(a.split('=', 1)[1] for a in sys.argv if 'modelFile' in a);"
        "onnx.checker.check_model(file, full_check=True); print('it is valid')"
    )
    lines: list[str] = []
    root = package.make(body)
    with pytest.raises(ExportError, match="wrote 0 graphs"):
        run_conversion(job(source, converter=root), tmp_path / "out", log=lines.append)
    assert lines == ["it is valid"]


def test_a_failure_shows_the_log(source: Path, package: Package, tmp_path: Path):
    root = package.make("print('[ERROR] LITE: unsupported'); sys.exit(3)")
    with pytest.raises(ExportError, match=r"exit code 3.*\n\[ERROR\] LITE: unsupported") as caught:
        run_conversion(job(source, converter=root), tmp_path / "out")
    assert "--print-command" in str(caught.value)
    assert left_over(tmp_path) == []


def test_the_timeout_ends_it(source: Path, package: Package, tmp_path: Path):
    root = package.make("print('converting', flush=True); time.sleep(60)")
    seen: list[str] = []
    started = time.monotonic()
    with pytest.raises(ExportError, match="longer than 2 s"):
        run_conversion(job(source, converter=root, timeout=2.0), tmp_path / "out", log=seen.append)
    assert time.monotonic() - started < 30
    assert seen == ["converting"]
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("open(OUT + '.mindir', 'wb').write(b'no graph')", "cannot be used"),
        ("os.symlink('/etc/passwd', OUT + '.mindir')", "symbolic link"),
        (
            "open(OUT + '.mindir', 'wb').write(b'\\x3a\\0');os.symlink('/etc', OUT + '_variables')",
            "symbolic link",
        ),
        ("[open(OUT + x, 'wb').close() for x in ('.mindir', '_2.mindir')]", "wrote 2 graphs"),
    ],
)
def test_what_it_writes_is_not_trusted(
    source: Path, package: Package, tmp_path: Path, body: str, message: str
):
    with pytest.raises(ExportError, match=message):
        run_conversion(job(source, converter=package.make(body)), tmp_path / "out")
    assert left_over(tmp_path) == []


def test_without_lite_it_says_what_to_install(source: Path, tmp_path: Path):
    with pytest.raises(ExportError, match=r"(?s)no mindspore_lite.*mindspore-lite==2.0.0") as found:
        run_conversion(job(source, toolchain=sys.executable), tmp_path / "out")
    assert "--converter DIR" in str(found.value)
    with pytest.raises(ExportError, match="converter_lite is missing"):
        run_conversion(job(source, converter=tmp_path), tmp_path / "out")
    assert left_over(tmp_path) == []


def test_a_package_in_the_environment_comes_after_the_toolchain(
    source: Path, package: Package, toolchain: str, monkeypatch
):
    monkeypatch.setenv("LITE_HOME", str(package.make()))
    assert find_converter(ConversionOptions(toolchain=sys.executable)).program == (
        str(package.tool),
    )
    assert find_converter(ConversionOptions(toolchain=toolchain)).program[0] == toolchain
    named = ConversionOptions(toolchain=toolchain, converter=package.root)
    assert find_converter(named).program == (str(package.tool),)


def test_a_graph_that_computes_something_else_is_refused(
    source: Path, package: Package, tmp_path: Path, lite_only: str
):
    """Lite's own converter, of a model with another attention scale."""
    from glmlite.quant.converter import python_converter
    from glmlite.runtime.engines.interpreter import find_toolchain

    real = python_converter(find_toolchain(lite_only))
    assert real is not None
    body = (
        "import onnx, subprocess; from onnx import numpy_helper;"
        "file = next(a.split('=', 1)[1] for a in sys.argv if 'modelFile' in a);"
        "model = onnx.load(file, load_external_data=False);"
        "scale = next(t for t in model.graph.initializer if t.name.endswith('attention_scale'));"
        "scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * 1.5, scale.name));"
        "onnx.save(model, file);"
        f"sys.exit(subprocess.call([*{real.program!r}, *sys.argv[1:]]))"
    )
    options = {"converter": package.make(body), "toolchain": lite_only, "prefill_tokens": (1,)}
    with pytest.raises(ParityError, match=r"(?s)on lite 2.0.0 differs.*another MindSpore Lite"):
        run_conversion(job(source, **options), tmp_path / "out")
    assert left_over(tmp_path) == []
