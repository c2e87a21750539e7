"""The engine `onnx`: chosen without a toolchain, its cache in place, its files by phase."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glmlite
from glmlite.bundle import Bundle
from glmlite.errors import EngineError
from glmlite.runtime import engines
from glmlite.runtime.engines import EngineOptions, onnx_session, open_engine
from glmlite.runtime.engines.onnx import OnnxEngine
from glmlite.runtime.engines.onnx_graph import OnnxGraph
from glmlite.runtime.engines.reference import ReferenceEngine
from tests.engines.bundles import FORMATS, Bundles
from tests.engines.driving import FP32, close, decode, one_row, prefill
from tests.fixtures.models import MODELS, Rope
from tests.fixtures.writing import write_checkpoint

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture
def bundle(bundles: Bundles) -> Bundle:
    return Bundle.open(bundles.export("prefix_wide", **FORMATS["onnx"]))


def opened(bundle: Bundle) -> OnnxEngine:
    engine = open_engine(bundle, "onnx", EngineOptions(threads=1)).engine
    assert isinstance(engine, OnnxEngine)
    return engine


def test_auto_asks_no_toolchain(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_toolchain", lambda _: pytest.fail("a toolchain was asked"))
    found = open_engine(bundle)
    assert found.name == "onnx"
    assert f"ONNX Runtime {onnxruntime.__version__}" in found.reason
    found.engine.close()


def test_auto_without_onnxruntime_is_the_reference(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_session, "installed_version", lambda: None)
    found = open_engine(bundle)
    assert found.name == "reference"
    assert "pip install 'glmlite[onnx]'" in found.reason


def test_a_missing_or_old_onnxruntime(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(EngineError, match=r"pip install 'glmlite\[onnx\]'"):
            open_engine(bundle, "onnx")
    monkeypatch.setattr(onnxruntime, "__version__", "1.9.1")
    with pytest.raises(EngineError, match=r"needs ONNX Runtime 1\.22 or newer; this one is 1\.9"):
        open_engine(bundle, "onnx")


@pytest.mark.parametrize("option", [{"device": "ascend"}, {"device_id": 1}, {"provider": "ge"}])
def test_options_without_effect_are_refused(bundle: Bundle, option: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match=f"The engine onnx on .* has no {next(iter(option))}"):
        open_engine(bundle, "onnx", EngineOptions(**option))


def test_the_other_formats_engines_say_so(bundle: Bundle, bundles: Bundles) -> None:
    if bundles.can_export_mindir:
        mindir = Bundle.open(bundles.export("prefix"))
        with pytest.raises(EngineError, match=r"no ONNX graph.*\n.*export.format=onnx"):
            open_engine(mindir, "onnx")
        options = EngineOptions(toolchain=bundles.toolchain)
        with pytest.raises(EngineError, match="no MindIR graph"):
            open_engine(bundle, "mindspore", options)


def test_the_library_and_its_help_do_not_import_onnxruntime() -> None:
    code = (
        "import sys, glmlite.runtime.model, glmlite.cli.app, glmlite.cli.doctor\n"
        "assert not {'onnx', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_keys_are_written_where_they_stay(bundle: Bundle, bundles: Bundles) -> None:
    """No second cache, and no binding anew, from the first token decoded to the last."""
    engine, case = opened(bundle), bundles.subject("prefix_wide").cases[1]
    cache = engine.new_cache()
    arrays, slots = cache.current, bundle.manifest.prefix_length + len(case.prompt)
    kept = list(arrays)
    assert cache.other is arrays
    first = prefill(engine, cache, case, 7, FP32)
    for array in arrays:
        assert np.abs(array[:, :, :slots]).max(axis=(-1, -2)).min() > 0
        assert not array[:, :, slots:].any()
    decode(engine, cache, case, first, FP32, steps=1)
    bound = dict(cache.bindings)
    decode(engine, cache, case, first, FP32)
    assert cache.bindings == bound
    assert all(now is then for now, then in zip(cache.current, kept, strict=True))
    engine.close()


@pytest.fixture
def grouped(bundles: Bundles) -> Bundle:
    """With a decode file whose attention is made of matrix products."""
    path = bundles.export("prefix_wide", **FORMATS["onnx"], export__cache_length=1024)
    return Bundle.open(bundles.with_grouped_decode(path))


def test_grouped_attention_is_a_sound_graph(grouped: Bundle) -> None:
    onnx.checker.check_model(str(grouped.path / "decode.onnx"), full_check=True)
    model = onnx.load(grouped.path / "decode.onnx", load_external_data=False)
    found = onnx.shape_inference.infer_shapes(
        model, check_type=True, strict_mode=True, data_prop=True
    )
    assert found.graph.value_info == model.graph.value_info


def test_a_cache_for_grouped_attention_grows(grouped: Bundle) -> None:
    """In place all the same; what was there stays, and the reference agrees on both sides."""
    engine, manifest = opened(grouped), grouped.manifest
    cache = engine.new_cache()
    reference = ReferenceEngine(
        manifest.model, grouped.weights(), grouped.prefix_cache(), cache_length=1024
    )
    theirs = reference.new_cache()
    ids = np.random.default_rng(3).integers(3, 200, 700).tolist()
    lengths, position = [], 0
    for size in (200, 1, 49, 1, 1, 5, 1, 1, 300, 1, 1):
        piece = ids[position : position + size]
        ((_, found),) = one_row(engine, cache, piece, size, position=position)
        ((_, wanted),) = one_row(reference, theirs, piece, size, position=position)
        close(found, wanted, FP32, f"{position} tokens and {size}")
        position += size
        assert cache.other is cache.current
        lengths.append(cache.length)
    assert (lengths[0], lengths[-1]) == (512, 768)


def test_chunks_are_cut_where_scores_would_grow_large(
    grouped: Bundle, bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, case = opened(grouped), bundles.subject("prefix_wide").cases[1]
    seen = []
    run = OnnxGraph.run

    def counting(graph: OnnxGraph, cache: Any, first: int, rows: Any, every_row: bool) -> Any:
        seen.append(rows[0].shape[1])
        return run(graph, cache, first, rows, every_row)

    monkeypatch.setattr(OnnxGraph, "run", counting)
    cache = engine.new_cache()
    monkeypatch.setattr("glmlite.runtime.engines.onnx.MAX_SCORES", 4 * 4 * cache.length * 9)
    ids = np.array([case.ids], np.int32)
    logits = engine.score(ids, np.zeros(1, np.int32), np.array([ids.size], np.int32), cache)
    close(logits[0], case.logits, FP32, "scores of nine tokens at a time")
    assert seen == [9] * (ids.size // 9) + [ids.size % 9] * bool(ids.size % 9)


def test_logits_belong_to_the_caller(bundle: Bundle) -> None:
    engine = opened(bundle)
    cache = engine.new_cache()
    ((_, one),) = one_row(engine, cache, [5], 1)
    kept = one.copy()
    ((_, two),) = one_row(engine, cache, [9], 1, position=1)
    assert np.array_equal(one, kept)
    two[:] = 0
    ((_, again),) = one_row(engine, cache, [9], 1, position=1)
    assert again.any()


def test_after_close(bundle: Bundle) -> None:
    engine = opened(bundle)
    cache = engine.new_cache()
    list(one_row(engine, cache, [5], 1))
    engine.close()
    engine.close()
    assert not cache.bindings
    with pytest.raises(EngineError, match="closed"):
        list(one_row(engine, cache, [5], 1))
    with pytest.raises(EngineError, match="closed"):
        engine.new_cache()


def test_a_cache_of_another_engine(bundle: Bundle) -> None:
    engine, other = opened(bundle), opened(bundle)
    with pytest.raises(EngineError, match="another engine"):
        list(one_row(engine, other.new_cache(), [5], 1))


@pytest.mark.parametrize("flavor", ["onnx", "onnx_standard"])
def test_phases_in_files_of_their_own(bundles: Bundles, tmp_path: Path, flavor: str) -> None:
    """Prefill from one file and decode from another, over one cache."""
    path = tmp_path / "bundle"
    shutil.copytree(bundles.export("prefix_wide", **FORMATS[flavor]), path)
    shutil.copyfile(path / "model.onnx", path / "prefill.onnx")
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["prefill.onnx"] = manifest["files"]["model.onnx"]
    for graph in manifest["graphs"]:
        if graph["phase"] == "prefill":
            graph["file"] = "prefill.onnx"
    (path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    engine = opened(Bundle.open(path))
    for case in bundles.subject("prefix_wide").cases:
        cache = engine.new_cache()
        first = prefill(engine, cache, case, 7, FP32)
        assert decode(engine, cache, case, first, FP32) == case.greedy_ids
    files = {"model.onnx", "prefill.onnx"}
    assert {key[0] for key in cache.bindings} == files
    # A score file of flavor standard is not opened before it is needed.
    assert set(engine._graphs) == files


def test_a_step_that_fails_says_why(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = opened(bundle)
    cache = engine.new_cache()
    list(one_row(engine, cache, [5], 1))
    (binding,) = cache.bindings.values()
    binding._binding.clear_binding_inputs()
    with pytest.raises(EngineError, match=f"ONNX Runtime {onnxruntime.__version__} failed in"):
        list(one_row(engine, cache, [5], 1, position=1))


LONG = 8_300


@pytest.mark.parametrize(
    ("name", "flavor"), [("glm2_32k", "ort"), ("glm3_32k", "ort"), ("glm3_32k", "standard")]
)
def test_past_8192_tokens(name: str, flavor: str, tmp_path: Path) -> None:
    """Stretched rotary positions behind the context of the models without them.

    The reference is fed in the same chunks: its own numbers are proven against the oracle.
    """
    from glmlite.exporter.pipeline import run_export

    base = MODELS[name]
    config = {"kv_channels": 32, "num_layers": 1, "ffn_hidden_size": 32, "seq_length": 32768}
    model = dataclasses.replace(base, config=base.config | config)
    recipe = {
        "model": {"checkpoint": str(write_checkpoint(model, tmp_path / "model"))},
        "export": {
            "output": str(tmp_path / "bundle"),
            "format": "onnx",
            "flavor": flavor,
            "cache_length": 32768,
            "parity": "off",
        },
    }
    bundle = Bundle.open(run_export(recipe).path)
    assert bundle.manifest.model.rope.kind == base.rope.kind != Rope().kind
    engine = opened(bundle)
    assert engine.spec.capacity == 32768
    reference = ReferenceEngine(bundle.manifest.model, bundle.weights(), cache_length=LONG + 3)
    ids = np.random.default_rng(1).integers(3, engine.spec.vocab_size, LONG + 3).tolist()
    size = 1024
    mine, theirs = engine.new_cache(), reference.new_cache()
    feeds = [one_row(e, c, ids[:LONG], size) for e, c in ((engine, mine), (reference, theirs))]
    for (held, found), (_, wanted) in zip(*feeds, strict=True):
        close(found, wanted, FP32, f"{held} tokens")
    feeds = [
        one_row(e, c, ids[LONG:], 1, position=LONG)
        for e, c in ((engine, mine), (reference, theirs))
    ]
    for (held, found), (_, wanted) in zip(*feeds, strict=True):
        close(found, wanted, FP32, f"{held} tokens")
    if flavor == "standard":
        assert LONG < mine.length < 1.2 * LONG, "the cache grows with what it holds"
    engine.close()


def test_generating_from_ids(bundles: Bundles) -> None:
    case = bundles.subject("prefix_wide").cases[1]
    with glmlite.load(bundles.export("prefix_wide", **FORMATS["onnx"]), threads=1) as model:
        assert model.engine_name == "onnx"
        pieces = list(model.generate(case.prompt, max_new_tokens=len(case.greedy_ids)))
        assert [piece.token for piece in pieces] == case.greedy_ids
        close(model.session().score(case.ids), case.logits, FP32, "scores")
