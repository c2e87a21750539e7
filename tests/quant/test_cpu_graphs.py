"""The files of quantized bundles keep the rules that those of float ones keep."""

from __future__ import annotations

from pathlib import Path

import pytest

import glmlite
from glmlite.bundle import Bundle
from glmlite.bundle.contents import read_index
from glmlite.demo import CHECKPOINT

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from tests.export.onnx_rules import check_file, check_names  # noqa: E402


@pytest.mark.parametrize("recipe", ["cpu_int8", "cpu_w8a8", "cpu_int4", "cpu_int4_w8a8"])
def test_quantized_graphs_are_sound_and_named_by_the_rule(
    tmp_path: Path, short_text: Path, recipe: str
) -> None:
    path = glmlite.quantize(
        CHECKPOINT,
        recipe=recipe,
        output=tmp_path / "out",
        calibration=short_text,
        accuracy=False,
        parity=False,
    )
    bundle = Bundle.open(path)
    weights = set(read_index(path / bundle.manifest.weights.index).tensors)
    for name in {g.file for g in bundle.manifest.graphs}:
        check_file(path / name)
        model = onnx.load(path / name, load_external_data=False)
        check_names(model.graph, weights)
        assert any(tensor.name in weights for tensor in model.graph.initializer)
