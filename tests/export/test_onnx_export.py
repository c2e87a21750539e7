"""`export.format: onnx` from recipe to bundle: proven, complete, refused with one clear error."""

from __future__ import annotations

import dataclasses
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from glmlite.bundle import Bundle
from glmlite.bundle.manifest import Manifest
from glmlite.errors import BundleError, ConfigError, ExportError, ParityError
from glmlite.exporter.onnx_graph import emit_graph, ort
from glmlite.exporter.pipeline import run_export
from glmlite.progress import NoProgress
from glmlite.toolchain.weights import WeightsIndex
from tests.export.onnx_models import ALL, export
from tests.fixtures.models import MODELS
from tests.fixtures.writing import write_checkpoint

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def recipe(folder: Path, model: str = "glm2", **changes: Any) -> dict[str, Any]:
    checkpoint = write_checkpoint(ALL[model], folder / "checkpoint")
    section: dict[str, Any] = {"checkpoint": str(checkpoint), "family": ALL[model].family}
    section["dtype"] = changes.pop("dtype", "float32")
    if ALL[model].prefix_length:
        section["adapter"] = str(checkpoint / "adapter")
    made = {"output": str(folder / "out" / "bundle"), "format": "onnx", "cache_length": 96}
    return {"model": section, "export": {**made, "prefill_tokens": [7, 32], **changes}}


@pytest.fixture
def no_toolchain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for MindSpore fails."""

    def refuse(*_args: Any) -> Any:
        raise AssertionError("an ONNX export looked for a toolchain")

    monkeypatch.setattr("glmlite.exporter.mindir_backend.find_toolchain", refuse)


@pytest.mark.usefixtures("no_toolchain")
@pytest.mark.parametrize("flavor", ["ort", "standard"])
@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("wide_prefix", {}),
        ("odd_sizes", {"batch_size": 3, "score_tokens": 5}),
        ("wide_fp16_shards", {"dtype": "float16", "batch_size": 2}),
        ("bf16", {"dtype": "float16"}),
    ],
)
def test_every_graph_is_proven(
    tmp_path: Path, flavor: str, model: str, changes: dict[str, Any]
) -> None:
    report = run_export(recipe(tmp_path, model, flavor=flavor, **changes))
    manifest = report.manifest
    assert {entry.graph for entry in manifest.parity} == {g.file for g in manifest.graphs}
    for entry in manifest.parity:
        assert entry.engine.startswith("onnx 1.")
        assert entry.steps >= (2 if entry.graph == "score.onnx" else 10)
        assert 0 < entry.max_abs < 1e-4  # float16 weights are rounded on both sides
        assert entry.top1 == 1
        assert entry.layers == manifest.model.num_layers
    assert set(manifest.producer) == {"glmlite", "onnx", "onnxruntime", "python"}
    Bundle.open(report.path).verify()


def test_parity_of_some_layers_leaves_nothing_behind(tmp_path: Path) -> None:
    report = run_export(recipe(tmp_path, "glm3", parity="layers:2"))
    assert {entry.layers for entry in report.manifest.parity} == {2}
    assert sorted(report.manifest.files) == [
        "model.onnx",
        "weights/data_0",
        "weights/index.json",
    ]
    assert not list(report.path.rglob(".*"))


def test_a_wrong_graph_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = ort.add_tables

    def shifted(*args: Any) -> Any:
        *some, prefix_length = args
        return right(*some, prefix_length + 1)  # the first two positions are alike

    monkeypatch.setattr(ort, "add_tables", shifted)
    with pytest.raises(ParityError, match=r"model\.onnx on onnx"):
        run_export(recipe(tmp_path, "wide_prefix"))
    assert list((tmp_path / "out").iterdir()) == []


def test_the_largest_of_several_cache_lengths_counts(tmp_path: Path) -> None:
    manifest = run_export(recipe(tmp_path, cache_length=[64, 96], parity="off")).manifest
    assert [(g.phase, g.cache_length) for g in manifest.graphs] == [
        ("prefill", 96),
        ("decode", 96),
        ("score", 96),
    ]


@pytest.mark.parametrize(
    ("package", "changes", "said"),
    [
        ("onnx", {"parity": "off"}, "ONNX export needs the package onnx"),
        ("onnxruntime", {}, "The proof of an ONNX export needs ONNX Runtime"),
    ],
)
def test_a_package_is_missing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    changes: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExportError, match=said) as caught:
        run_export(recipe(tmp_path, **changes))
    assert "pip install 'glmlite[onnx]'" in str(caught.value.hint)
    assert not (tmp_path / "out").exists()


def test_onnxruntime_is_for_the_proof_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    manifest = run_export(recipe(tmp_path, parity="off")).manifest
    assert "onnxruntime" not in manifest.producer


def test_what_does_not_belong_to_onnx(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ONNX export uses none"):
        run_export(recipe(tmp_path / "a"), toolchain=sys.executable)
    with pytest.raises(ConfigError, match=r"export\.flavor.*ort \| standard"):
        run_export(recipe(tmp_path / "b", flavor="fast"))
    with pytest.raises(ConfigError, match="only onnx has flavors"):
        run_export(recipe(tmp_path / "c", flavor="ort", format="mindir"))


def test_the_standard_flavor_takes_plain_weights_only(tmp_path: Path) -> None:
    bundle = export(MODELS["glm2"], tmp_path, "standard")
    index = WeightsIndex.read(str(bundle.path / bundle.manifest.weights.index))
    name = "transformer.output_layer.weight"
    quantized = WeightsIndex(index.file, index.tensors, {name: {"scheme": "block"}})
    with pytest.raises(ExportError, match=f"{name} is quantized"):
        emit_graph(
            bundle.path,
            "other.onnx",
            bundle.manifest.model,
            quantized,
            flavor="standard",
            cache_length=96,
            prefix_length=0,
        )
    assert not (bundle.path / "other.onnx").exists()


@pytest.mark.parametrize(
    ("number", "changes", "said"),
    [
        (0, {"flavor": None}, "flavor"),
        (0, {"flavor": "fast"}, "flavor"),
        (0, {"format": "mindir"}, "flavor"),
        (0, {"format": "mindir", "flavor": None}, "no tokens"),
        (1, {"tokens": 0}, "no tokens"),
        (0, {"tokens": -1}, "no tokens"),
        (2, {"flavor": 7}, "flavor"),
    ],
)
def test_a_manifest_that_cannot_be(
    tmp_path: Path, number: int, changes: dict[str, Any], said: str
) -> None:
    text = (export(MODELS["glm2"], tmp_path, "ort").path / "manifest.json").read_text("utf-8")
    data = json.loads(text)
    data["graphs"][number].update(changes)
    with pytest.raises(BundleError, match=said):
        Manifest.from_json(json.dumps(data))


def test_the_hash_made_while_writing_is_the_file_s(tmp_path: Path) -> None:
    bundle = export(MODELS["fp16_shards"], tmp_path, "ort")
    bundle.verify(NoProgress())
    path = bundle.path / "weights" / "data_0"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match="was changed"):
        bundle.verify(NoProgress())


_SCRIPT = """
import json, sys
from glmlite.errors import ExportError
from glmlite.exporter.pipeline import run_export

try:
    run_export(json.loads(sys.argv[1]))
except ExportError as error:
    print(error)
"""


@pytest.mark.parametrize("what", ["weights", "graph"])
def test_a_full_disk(tmp_path: Path, what: str) -> None:
    """A limit on the size of files fails a write as a full disk does."""
    made = recipe(tmp_path, parity="off")
    weights = (tmp_path / "checkpoint" / "model.safetensors").stat().st_size
    if what == "graph":  # a rotary table makes it larger than the weights
        made["export"]["cache_length"] = 2**17
    limit = weights // 2 if what == "weights" else weights + 4096
    found = subprocess.run(
        [sys.executable, "-c", _SCRIPT, json.dumps(made)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "The bundle could not be written" in found.stdout
    assert "File too large" in found.stdout
    assert list((tmp_path / "out").iterdir()) == []


def test_a_recipe_s_own_dataclass_can_be_exported(tmp_path: Path) -> None:
    from glmlite.exporter.config import load_config

    config = load_config(recipe(tmp_path, parity="off"))
    assert config.export.flavor == "ort"
    config = dataclasses.replace(config, export=dataclasses.replace(config.export, flavor=None))
    assert {g.flavor for g in run_export(config).manifest.graphs} == {"ort"}
