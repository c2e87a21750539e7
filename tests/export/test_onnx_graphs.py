"""What ONNX files say: checked by `onnx` itself, named by the rule, small beside the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import glmlite
from glmlite.bundle import Bundle
from glmlite.bundle.contents import read_index
from glmlite.exporter.onnx_graph import emit_graph
from glmlite.model.parameters import parameter_shapes
from tests.export.onnx_models import ALL, export

onnx = pytest.importorskip("onnx")

from tests.export.onnx_rules import check_file, check_names, shape_of  # noqa: E402


@pytest.fixture(scope="module", params=["ort", "standard"])
def flavor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=list(ALL))
def bundle(
    request: pytest.FixtureRequest, flavor: str, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """Every tiny model in both flavors."""
    return export(ALL[request.param], tmp_path_factory.mktemp(request.param), flavor)


def files(bundle: Bundle) -> dict[str, Any]:
    """Graph file -> model, external data left where it is."""
    names = {g.file for g in bundle.manifest.graphs}
    return {name: onnx.load(bundle.path / name, load_external_data=False) for name in names}


def test_the_checker_and_strict_shape_inference_accept_it(bundle: Bundle) -> None:
    for name in {g.file for g in bundle.manifest.graphs}:
        check_file(bundle.path / name)


def test_the_cache_is_what_the_contract_says(bundle: Bundle) -> None:
    for model in files(bundle).values():
        graph = model.graph
        values = {v.name: v for v in (*graph.input, *graph.output)}
        cache = ["batch", bundle.manifest.model.num_groups, "cache_length"]
        assert shape_of(values["past.0.key"])[:3] == cache
        assert shape_of(values["present.0.value"])[:3] == cache
        assert shape_of(values["input_ids"]) == ["batch", "tokens"]


def test_names_follow_the_rule(bundle: Bundle) -> None:
    parameters = set(parameter_shapes(bundle.manifest.model))
    for model in files(bundle).values():
        check_names(model.graph, parameters)
        assert parameters <= {tensor.name for tensor in model.graph.initializer}


def test_weights_are_the_bundle_s_own_bytes(bundle: Bundle) -> None:
    index = read_index(bundle.path / bundle.manifest.weights.index)
    for model in files(bundle).values():
        for tensor in model.graph.initializer:
            if tensor.name not in index.tensors:
                assert tensor.data_location != onnx.TensorProto.EXTERNAL
                continue
            entry = index.tensors[tensor.name]
            assert {e.key: e.value for e in tensor.external_data} == {
                "location": "weights/data_0",
                "offset": str(entry["offset"]),
                "length": str(entry["nbytes"]),
            }
            assert list(tensor.dims) == entry["shape"]


def test_metadata_and_operators(bundle: Bundle, flavor: str) -> None:
    for model in files(bundle).values():
        told = {p.key: p.value for p in model.metadata_props}
        assert told == {
            "glmlite_version": glmlite.__version__,
            "flavor": flavor,
            "family": bundle.manifest.family,
        }
        assert not model.functions
        domains = {node.domain for node in model.graph.node}
        assert domains == ({"", "com.microsoft"} if flavor == "ort" else {""})
        if flavor == "standard":
            assert model.opset_import[0].version == 13
            assert model.ir_version <= 7


def test_one_file_for_all_phases_or_two(bundle: Bundle, flavor: str) -> None:
    found = {g.phase: (g.file, g.tokens, g.flavor, g.format) for g in bundle.manifest.graphs}
    score = "model.onnx" if flavor == "ort" else "score.onnx"
    assert found == {
        "prefill": ("model.onnx", 0, flavor, "onnx"),
        "decode": ("model.onnx", 1, flavor, "onnx"),
        "score": (score, 0, flavor, "onnx"),
    }


@pytest.mark.parametrize("kind", ["ort", "standard"])
def test_the_rotary_table_of_32k_slots_is_half_as_wide_as_it_could_be(
    tmp_path: Path, kind: Any
) -> None:
    model = ALL["wide_glm2_32k"]
    bundle = export(model, tmp_path, "ort")
    index = read_index(bundle.path / bundle.manifest.weights.index)
    sizes = []
    for length in (64, 32768):
        config = bundle.manifest.model
        settings: Any = {"flavor": kind, "cache_length": length, "prefix_length": 0}
        emit_graph(bundle.path, "other.onnx", config, index, **settings)
        sizes.append((bundle.path / "other.onnx").stat().st_size)
    # cos and sin, 8 pairs of 32 channels; the standard flavor also counts slots.
    a_slot = 2 * 8 * 4 + (4 if kind == "standard" else 0)
    assert sizes[1] - sizes[0] == pytest.approx((32768 - 64) * a_slot, abs=100)


def test_the_manifest_s_text_has_flavors_of_onnx_only(bundle: Bundle, flavor: str) -> None:
    data = json.loads((bundle.path / "manifest.json").read_text(encoding="utf-8"))
    assert {g["flavor"] for g in data["graphs"]} == {flavor}
