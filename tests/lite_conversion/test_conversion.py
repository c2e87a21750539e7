"""Bundles through Lite's real converter and engine, without MindSpore: goldens and oracle met."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glmlite.bundle import Bundle
from glmlite.errors import EngineError
from glmlite.lite_conversion import ConversionOptions, LiteJob, run_conversion
from glmlite.lite_conversion.sharing import SharedFile
from glmlite.runtime.engines import EngineOptions, choose_engine, open_engine
from glmlite.runtime.engines.interpreter import Interpreter
from glmlite.toolchain.mindir import list_parameters, rewrite_parameters
from tests.engines import test_batch
from tests.engines.bundles import Bundles
from tests.engines.driving import FP32, Running, decode, prefill
from tests.engines.subjects import GOLDEN

Converted = Callable[..., Path]


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory, lite_only: str) -> Converted:
    """Converts with an interpreter that has no MindSpore."""

    def convert(source: Path, **options: object) -> Path:
        chosen = ConversionOptions(toolchain=lite_only, **{"parity": False} | options)
        output = tmp_path_factory.mktemp("converted") / source.name
        return run_conversion(LiteJob.open(source, chosen), output).path

    return convert


@pytest.fixture(scope="module")
def golden(converted: Converted, onnx_bundle: Callable[..., Path]) -> Path:
    """From fused operators of ONNX Runtime."""
    return converted(onnx_bundle(GOLDEN), prefill_tokens=(7,))


@pytest.fixture(scope="module")
def half(converted: Converted, onnx_bundle: Callable[..., Path]) -> Path:
    """From float16 weights; this one is compared with the reference."""
    source = onnx_bundle("fp16_shards", model__dtype="float16")
    return converted(source, prefill_tokens=(1,), parity=True)


def opened(path: Path, name: str, bundles: Bundles, lite_only: str) -> Iterator[Running]:
    engine = open_engine(Bundle.open(path), "lite", EngineOptions(toolchain=lite_only)).engine
    try:
        yield Running(bundles.subject(name), engine, "lite_worker")
    finally:
        engine.close()


@pytest.mark.parametrize("name", [GOLDEN, "glm2_32k", "fp16_shards"])
def test_greedy_whatever_the_chunks(
    name: str,
    converted: Converted,
    onnx_bundle: Callable[..., Path],
    bundles: Bundles,
    lite_only: str,
    request: pytest.FixtureRequest,
) -> None:
    made = {GOLDEN: "golden", "fp16_shards": "half"}.get(name)
    path = (
        request.getfixturevalue(made) if made else converted(onnx_bundle(name), prefill_tokens=(1,))
    )
    for running in opened(path, name, bundles, lite_only):
        sizes = (1, 7) if name == GOLDEN else (1,)
        assert running.engine.spec.chunk_sizes == sizes
        for size in sizes:
            for case in running.subject.cases:
                cache = running.engine.new_cache()
                first = prefill(running.engine, cache, case, size, FP32)
                assert decode(running.engine, cache, case, first, FP32) == case.greedy_ids


def test_three_ragged_rows_behind_a_prefix(
    converted: Converted, onnx_bundle: Callable[..., Path], bundles: Bundles, lite_only: str
) -> None:
    source = onnx_bundle("prefix", "onnx_standard")
    sizes = {"prefill_tokens": (7, 32), "batch_size": test_batch.BATCH, "score_tokens": 16}
    path = converted(source, **sizes)
    assert Bundle.open(path).manifest.prefix_length == 5
    for running in opened(path, "prefix", bundles, lite_only):
        test_batch.test_any_mixture_of_chunks(running, 1)
        test_batch.test_rows_decode_together_at_different_positions(running)
        test_batch.test_an_idle_row_keeps_its_cache(running)
        test_batch.test_score_gives_logits_of_every_row(running)


def test_weights_lie_on_disk_once(golden: Path) -> None:
    bundle = Bundle.open(golden)
    bundle.verify()
    manifest = bundle.manifest
    size = manifest.files["weights/data_0"].size
    assert manifest.weights.bytes < size < 1.2 * manifest.weights.bytes
    for graph in manifest.graphs:
        parameters = list_parameters(str(golden / graph.file))
        assert {p.location for p in parameters} == {"weights/data_0"}
        assert sum(p.length for p in parameters) >= manifest.weights.bytes
    assert {p.name for p in golden.iterdir()} == {
        "manifest.json", "weights", *(g.file for g in manifest.graphs),
        *([manifest.tokenizer.file] if manifest.tokenizer else []),
    }  # fmt: skip


def test_weights_beside_a_graph_are_taken_in(golden: Path, tmp_path: Path) -> None:
    """Above 1 GiB the converter writes NAME_graph.mindir and NAME_variables/data_0 (measured)."""
    name, data = "decode_t1_s112_b1", golden / "weights" / "data_0"
    graph, beside = golden / f"{name}.mindir", tmp_path / f"{name}_variables"
    listed = list_parameters(str(graph))
    places = {p.name: (f"{beside.name}/data_0", p.offset, p.length) for p in listed}
    rewrite_parameters(str(graph), str(tmp_path / f"{name}_graph.mindir"), places)
    shutil.copytree(data.parent, tmp_path / "weights")
    beside.mkdir()
    shutil.copyfile(data, beside / "data_0")
    shared = SharedFile(tmp_path)
    shared.take(f"{name}_graph.mindir", f"{name}.mindir")
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{name}.mindir", "weights"]
    for old, new in zip(listed, list_parameters(str(tmp_path / f"{name}.mindir")), strict=True):
        assert (old.name, new.location) == (new.name, "weights/data_0")
        content = (tmp_path / "weights" / "data_0").read_bytes()[new.offset :][: new.length]
        assert content == data.read_bytes()[old.offset :][: old.length]


def test_the_weights_are_the_sources(golden: Path, onnx_bundle: Callable[..., Path]) -> None:
    old, new = Bundle.open(onnx_bundle(GOLDEN)).weights(), Bundle.open(golden).weights()
    for name in old.shapes():
        assert (old.read(name) == new.read(name)).all()


def test_float16_becomes_float32(half: Path) -> None:
    manifest = Bundle.open(half).manifest
    assert manifest.weights.dtype == "float32"
    assert {(p.graph, p.engine) for p in manifest.parity} == {
        (g.file, "lite 2.0.0") for g in manifest.graphs
    }
    assert all(p.max_abs < 1e-3 and p.top1 == 1.0 for p in manifest.parity)


def test_the_manifest_names_the_converter(golden: Path) -> None:
    manifest = Bundle.open(golden).manifest
    assert set(manifest.producer) == {"glmlite", "converter"}
    assert manifest.producer["converter"] == "mindspore_lite 2.0.0"
    assert [g.mindir_version for g in manifest.graphs] == [1, 1]
    assert [(g.phase, g.tokens, g.cache_length) for g in manifest.graphs] == [
        ("prefill", 7, 112),
        ("decode", 1, 112),
    ]


def test_only_lite_is_chosen_for_it(golden: Path, toolchain: str) -> None:
    def machine(**packages: str) -> Interpreter:
        found = {name.replace("_", "-"): version for name, version in packages.items()}
        return Interpreter("python", "3.11", "Linux", False, {**found})

    bundle = Bundle.open(golden)
    assert choose_engine(bundle, machine(mindspore_lite="2.0.0"))[0] == "lite"
    assert choose_engine(bundle, machine(mindspore_lite="2.3.1"))[0] == "lite"
    assert choose_engine(bundle, machine(mindspore="2.0.0"))[0] == "reference"
    with pytest.raises(EngineError, match="MindSpore does not run them"):
        open_engine(bundle, "mindspore", EngineOptions(toolchain=toolchain))
