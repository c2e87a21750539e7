"""Random bundles are bundles like others: they run, on any engine, and are made once."""

from __future__ import annotations

import errno
import sys

import pytest

from glmlite.bench.options import BenchOptions
from glmlite.bench.random_bundle import (
    CACHE_LENGTH,
    SIZES,
    TINY,
    RandomModel,
    check_engine,
    make_random_bundle,
)
from glmlite.bench.random_weights import RandomWeights
from glmlite.bench.run import decode_bytes, run_bench
from glmlite.bundle import Bundle
from glmlite.bundle.contents import read_index
from glmlite.errors import ConfigError, EngineError, ExportError
from glmlite.model.parameters import parameter_shapes
from glmlite.model.presets import PRESETS
from glmlite.progress import NoProgress
from glmlite.runtime.engines import EngineOptions, open_engine
from glmlite.runtime.session import Session

pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

RECIPES = ["none", "cpu_int8", "cpu_int4", "cpu_w8a8", "cpu_int4_w8a8"]
IDS = [3 + (i * 7919) % 2000 for i in range(40)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Recipe -> the tiny bundle."""
    folder = tmp_path_factory.mktemp("random")
    return {
        recipe: make_random_bundle(RandomModel(TINY, recipe), folder / recipe, NoProgress())
        for recipe in RECIPES
    }


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_bundle_is_whole(made, recipe):
    bundle = Bundle.open(made[recipe])
    bundle.verify()
    manifest = bundle.manifest
    assert manifest.model == SIZES[TINY].config
    assert manifest.checkpoint["format"] == "random"
    assert manifest.checkpoint["preset"] == TINY
    assert manifest.weights.quantization == recipe
    assert {graph.phase for graph in manifest.graphs} == {"prefill", "decode", "score"}
    assert set(bundle.weights().shapes()) == set(parameter_shapes(manifest.model))


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_bundle_runs_and_the_counts_add_up(made, recipe):
    options = BenchOptions(
        prompt_tokens=100, new_tokens=5, repeats=2, contexts=(50,), bandwidth=False
    )
    report = run_bench(made[recipe], options=options)
    assert report.subject.engine == "onnx"
    assert report.answers.token_seconds.count == 2 * 4
    warm_up, answers, curve = 100 + 2, 2 * (100 + 4), 50 + 9
    assert report.calls.tokens == warm_up + answers + curve + 1500 + 32 * 3
    assert report.memory.peak > 0


@pytest.mark.parametrize("recipe", ["none", "cpu_int8"])
def test_a_place_that_is_taken_is_told_with_the_option_that_named_it(tmp_path, recipe):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ExportError, match="is no bundle") as told:
        make_random_bundle(RandomModel(TINY, recipe), tmp_path, NoProgress())
    assert str(told.value).endswith("\nName another folder: --keep DIR")
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("recipe", ["none", "cpu_int8"])
def test_a_full_disk_asks_for_space(tmp_path, monkeypatch, recipe):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("glmlite.bench.random_bundle.write_weights", full)
    monkeypatch.setattr("glmlite.quant.cpu_pipeline.write_cpu_weights", full)
    with pytest.raises(ExportError, match="No space left") as told:
        make_random_bundle(RandomModel(TINY, recipe), tmp_path / "kept", NoProgress())
    assert "Free some space there, or name another folder: --keep DIR" in str(told.value)
    assert not list(tmp_path.iterdir())


class NoStage(NoProgress):
    """No work is begun."""

    def stage(self, title, total=None, unit=""):
        pytest.fail(f"begun: {title}")


@pytest.mark.parametrize("recipe", ["none", "cpu_int8"])
def test_without_onnx_nothing_is_begun(tmp_path, monkeypatch, made, recipe):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ExportError, match="needs the package onnx"):
        make_random_bundle(RandomModel(TINY, recipe), tmp_path / "kept", NoStage())
    assert not list(tmp_path.iterdir())
    # One that is there already needs it no more.
    assert make_random_bundle(RandomModel(TINY, recipe), made[recipe], NoStage()) == made[recipe]


def test_an_engine_is_asked_for_before_a_bundle_is_made(monkeypatch):
    for engine in ("auto", "onnx", "reference"):
        check_engine(engine, EngineOptions(threads=1))
    with pytest.raises(EngineError, match="has no provider"):
        check_engine("auto", EngineOptions(provider="ge"))
    with pytest.raises(EngineError, match="ONNX graphs, which the engine lite does not run"):
        check_engine("lite", EngineOptions())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    check_engine("reference", EngineOptions())
    for engine in ("auto", "onnx"):
        with pytest.raises(EngineError, match="needs ONNX Runtime") as told:
            check_engine(engine, EngineOptions())
        assert "pip install 'glmlite[onnx]'" in str(told.value)


def test_the_cache_is_as_long_as_it_is_known_to_be_before(made):
    opened = open_engine(Bundle.open(made["none"]), "onnx")
    try:
        assert opened.engine.spec.capacity == RandomModel(TINY).cache_length == CACHE_LENGTH
    finally:
        opened.engine.close()


def test_a_batch_decodes_all_its_rows(tmp_path):
    model = RandomModel(TINY, "cpu_int8", batch_size=3)
    path = make_random_bundle(model, tmp_path / "bundle", NoProgress())
    options = BenchOptions(
        prompt_tokens=9,
        new_tokens=4,
        repeats=1,
        batch=2,
        contexts=(),
        second_turn=False,
        bandwidth=False,
    )
    report = run_bench(path, options=options)
    assert (report.batch.rows, report.batch.step_seconds.count) == (2, 3)
    assert report.calls.tokens == (9 + 2) + (9 + 3) + 2 * (9 + 3)


def test_float_weights_give_what_the_reference_gives(made):
    rows = []
    for engine in ("onnx", "reference"):
        opened = open_engine(Bundle.open(made["none"]), engine)
        rows.append(Session(opened.engine).feed(IDS))
        opened.engine.close()
    assert abs(rows[0] - rows[1]).max() < 1e-3 * abs(rows[1]).max()


def test_quantized_weights_are_near_the_same_random_ones(made):
    source = RandomWeights(SIZES[TINY].config)
    for recipe, allowed in (("cpu_int8", 0.02), ("cpu_int4", 0.2), ("cpu_w8a8", 0.05)):
        weights = Bundle.open(made[recipe]).weights()
        for name, shape in source.shapes().items():
            if len(shape) == 2:
                wanted = source.read(name)
                error = abs(weights.read(name) - wanted).max()
                assert error < allowed * abs(wanted).max(), (recipe, name)


def test_decoding_does_not_read_the_second_set(made):
    def size(recipe: str) -> int:
        bundle = Bundle.open(made[recipe])
        return decode_bytes(read_index(bundle.path / bundle.manifest.weights.index))

    assert size("cpu_int4_w8a8") == size("cpu_int4") < size("cpu_int8") < size("none")


def test_the_same_bundle_is_not_made_twice(made):
    manifest = made["none"] / "manifest.json"
    before = manifest.stat().st_mtime_ns
    make_random_bundle(RandomModel(TINY), made["none"], NoProgress())
    assert manifest.stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="holds another bundle"):
        make_random_bundle(RandomModel(TINY, seed=1), made["none"], NoProgress())


def test_published_sizes_can_be_asked_for():
    assert set(PRESETS) < set(SIZES)
    with pytest.raises(ConfigError, match=r"'glm4' is no preset; there are: glm2_6b, .*tiny"):
        RandomModel("glm4")
