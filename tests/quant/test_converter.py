"""Ascend's converter up to the call itself: what would run, and what happens when it fails."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from glmlite.errors import ConfigError, ExportError
from glmlite.exporter.recipes import list_recipes
from glmlite.model.parameters import OUTPUT
from glmlite.quant.job import Job, QuantizeOptions
from glmlite.quant.pipeline import run_quantize
from glmlite.toolchain.mindir_nodes import list_nodes, readers
from tests.quant.conftest import Package


def job(bundle: Path, recipe: Path | str, **options) -> Job:
    return Job.open(bundle, recipe, QuantizeOptions(**options))


def left_over(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if "partial" in p.name or p.name == "out")


def test_the_command_of_every_graph(tiny, package: Package, small_recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/already/there")
    root = package.make()
    recipe = small_recipe("skip_quant_node=transformer.output_layer.weight,Default/My-op1")
    with pytest.raises(ExportError, match="wrote 0 graphs"):
        run_quantize(job(tiny, recipe, converter=root), tmp_path / "out")
    (call,) = package.calls  # it ends with the first graph, for nothing came of it
    flags = dict(a[2:].split("=", 1) for a in call["argv"][1:])
    assert call["argv"][0] == str(package.tool)
    assert flags["fmk"] == "MINDIR"
    assert flags["saveType"] == "MINDIR"
    assert flags["optimize"] == "ascend_oriented:910b"
    # Where it lies, beside the external data that it names.
    assert Path(flags["modelFile"]).parent == tiny
    assert Path(flags["outputFile"]).name == Path(flags["modelFile"]).stem
    assert Path(flags["outputFile"]).parent.parent == tmp_path
    env = call["env"]
    assert env["ASCEND_BACK_POLICY"] == "ge"
    assert env["ASCEND_DEVICE_ID"] == "0"
    assert env["LITE_HOME"] == str(root)
    assert env["LD_LIBRARY_PATH"].split(":") == [
        f"{root}/runtime/lib",
        f"{root}/tools/converter/lib",
        f"{root}/runtime/third_party/dnnl",
        "/already/there",
    ]
    assert env["PATH"] == os.environ["PATH"]
    lines = call["cfg"].splitlines()
    assert "dequant_strategy=ON_THE_FLY" in lines
    (skip,) = [line for line in lines if line.startswith("skip_quant_node=")]
    skipped = skip.partition("=")[2].split(",")
    assert skipped[0] == "Default/My-op1"
    assert not any(name.startswith("transformer.") for name in skipped)
    read = readers(os.fspath(flags["modelFile"]))
    (output_node,) = [node for node, weights in read.items() if OUTPUT in weights]
    assert output_node in skipped
    kept = {w for node, weights in read.items() if node not in skipped for w in weights}
    assert len(kept) == 4 * 2
    assert left_over(tmp_path) == []


def test_what_is_printed_is_what_runs(tiny, package: Package, small_recipe, tmp_path):
    root = package.make(marker="an older one without the flag")
    planned = job(tiny, small_recipe(), converter=root).commands(tmp_path / "out")
    assert [graph.file for graph, _ in planned] == sorted(p.name for p in tiny.glob("*.mindir"))[
        ::-1
    ]
    with pytest.raises(ExportError):
        run_quantize(job(tiny, small_recipe(), converter=root), tmp_path / "out")
    (call,) = package.calls
    command = planned[0][1]
    assert call["cfg"] == command.config_text
    ran = [a.split("/")[-1] for a in call["argv"]]
    assert ran == [a.split("/")[-1] for a in command.argv]
    assert not any("saveType" in a for a in ran)
    assert command.variables.items() <= call["env"].items()
    text = str(command)
    assert command.config_text in text
    assert "ASCEND_BACK_POLICY=ge" in text
    assert all(argument in text for argument in command.argv)


def test_a_root_in_the_environment_is_found(tiny, package, small_recipe, monkeypatch, tmp_path):
    monkeypatch.setenv("LITE_HOME", str(package.make()))
    ((_, first), *_) = job(tiny, small_recipe()).commands(tmp_path)
    assert first.argv[0] == str(package.tool)


def test_a_failure_shows_the_log(tiny, package, small_recipe, tmp_path):
    body = "print('[ERROR] LITE: on stdout'); sys.stderr.write('on stderr\\n'); sys.exit(3)"
    lines: list[str] = []
    with pytest.raises(ExportError, match="exit code 3") as caught:
        run_quantize(
            job(tiny, small_recipe(), converter=package.make(body)),
            tmp_path / "out",
            log=lines.append,
        )
    assert "[ERROR] LITE: on stdout" in str(caught.value)
    assert sorted(lines) == ["[ERROR] LITE: on stdout", "on stderr"]
    assert left_over(tmp_path) == []


def test_lines_come_while_it_runs_and_the_timeout_ends_all(tiny, package, small_recipe, tmp_path):
    body = (
        "import subprocess; print('converting', flush=True);"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    seen: list[tuple[float, str]] = []
    started = time.monotonic()
    with pytest.raises(ExportError, match="longer than 2 s"):
        run_quantize(
            job(tiny, small_recipe(), converter=package.make(body), timeout=2.0),
            tmp_path / "out",
            log=lambda line: seen.append((time.monotonic() - started, line)),
        )
    assert time.monotonic() - started < 20
    assert seen[0][1] == "converting"
    assert seen[0][0] < 2.0
    stat = Path(f"/proc/{seen[1][1]}/stat")  # gone, or a zombie that init has not yet collected
    for _ in range(50):
        if not stat.exists() or stat.read_text().split()[2] == "Z":
            break
        time.sleep(0.1)
    else:
        pytest.fail("the converter's child lives on")
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("open(OUT + '.mindir', 'wb').write(b'no graph')", "cannot be used"),
        ("os.symlink('/etc/passwd', OUT + '.mindir')", "symbolic link"),
        ("[open(OUT + x, 'wb').close() for x in ('.mindir', '_2.mindir')]", "wrote 2 graphs"),
    ],
)
def test_what_it_writes_is_not_trusted(tiny, package, small_recipe, tmp_path, body, message):
    out = "OUT = next(a.split('=', 1)[1] for a in sys.argv if a.startswith('--outputFile='));"
    with pytest.raises(ExportError, match=message):
        run_quantize(
            job(tiny, small_recipe(), converter=package.make(out + body)), tmp_path / "out"
        )
    assert left_over(tmp_path) == []


def test_without_a_converter_it_says_what_to_install(tiny, small_recipe, tmp_path):
    with pytest.raises(ExportError, match=r"cloud_fusion.*--converter DIR") as caught:
        run_quantize(job(tiny, small_recipe()), tmp_path / "out")
    assert "--accuracy-only" in str(caught.value)
    with pytest.raises(ExportError, match=r"tools/converter/converter/converter_lite is missing"):
        job(tiny, small_recipe(), converter=tmp_path).commands(tmp_path)
    assert left_over(tmp_path) == []


def test_lite_2_0_refuses_ascends_recipe_itself(toolchain, tiny, tmp_path):
    # The tiny model is below the recipe's limits, so its text goes into a file of our own.
    shipped = list_recipes("quant")["ascend_on_the_fly_quant_910a"].read_text(encoding="utf-8")
    copy = tmp_path / "copy.cfg"
    copy.write_text(shipped.replace("=5000", "=0"), encoding="utf-8")
    with pytest.raises(ExportError, match=r"MindSpore Lite 2\.1 or newer"):
        run_quantize(job(tiny, copy, toolchain=toolchain), tmp_path / "out")
    assert left_over(tmp_path) == []


def test_the_nodes_of_a_graph(tiny):
    nodes = list_nodes(os.fspath(tiny / "decode_t1_s96_b1.mindir"))
    kinds = {node.kind for node in nodes}
    assert {"MatMul", "BatchMatMul", "Gather", "Load", "Constant"} <= kinds
    read = readers(os.fspath(tiny / "decode_t1_s96_b1.mindir"))
    weights = [w for ws in read.values() for w in ws if w.endswith("weight")]
    assert len(weights) == len(set(weights)) == 4 * 2 + 2
    assert sum(1 for ws in read.values() if not ws) > 10


def test_a_quantized_bundle_is_not_quantized_again(tiny, tmp_path, small_recipe):
    import json
    import shutil

    shutil.copytree(tiny, tmp_path / "copy")
    manifest = tmp_path / "copy" / "manifest.json"
    data = json.loads(manifest.read_text())
    data["weights"]["quantization"] = "portable_int8"
    manifest.write_text(json.dumps(data))
    with pytest.raises(ConfigError, match="quantized already"):
        job(tmp_path / "copy", small_recipe())
