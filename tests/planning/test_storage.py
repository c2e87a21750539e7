"""Bytes of weights, compared with bundles that exist and with arithmetic done by hand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from glmlite.bundle import Bundle
from glmlite.bundle.contents import read_index
from glmlite.checkpoint import open_checkpoint
from glmlite.errors import ConfigError
from glmlite.model.config import ModelConfig, from_huggingface
from glmlite.model.parameters import EMBEDDING, parameter_shapes
from glmlite.model.presets import PRESETS
from glmlite.planning import from_bundle
from glmlite.planning.storage import (
    MATRIX_KINDS,
    WeightKind,
    find_weights,
    layout,
    layout_of_index,
)
from glmlite.progress import NoProgress
from glmlite.quant.packing import store_blocks, store_rows
from glmlite.quant.weights import write_quantized
from tests.engines.bundles import Bundles
from tests.fixtures.models import MODELS
from tests.fixtures.writing import write_checkpoint

GLM2 = PRESETS["glm2_6b"].config


def test_the_published_parameter_count() -> None:
    """Hugging Face says 6,243,584,000 of ChatGLM2-6B, and 12.5 GB of float16."""
    stored = layout(GLM2, "float16", "ascend")
    assert stored.total == 2 * 6_243_584_000
    assert stored.embedding == 2 * 65024 * 4096
    # 28 x (4608 + 4096 + 27392 + 13696) x 4096, and the output layer.
    assert stored.matrix_values == 28 * 4096 * (4608 + 4096 + 27392 + 13696) + 65024 * 4096


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_bundle_has_exactly_these_bytes(bundles: Bundles, dtype: str) -> None:
    changes = {} if dtype == "float32" else {"model__dtype": "float16"}
    bundle = Bundle.open(bundles.export("glm2", **changes))
    manifest = bundle.manifest
    predicted = layout(manifest.model, "float16" if dtype == "float16" else "float32", "ascend")
    index = json.loads((bundle.path / manifest.weights.index).read_text(encoding="utf-8"))
    assert predicted.tensors == {n: e["nbytes"] for n, e in index["tensors"].items()}
    assert predicted.total == manifest.weights.bytes
    data = Path(manifest.weights.index).with_name(index["file"]).as_posix()
    assert predicted.file == manifest.files[data].size
    subject = from_bundle(bundle.path)
    assert subject.weights == dtype
    assert subject.files == sum(f.size for f in manifest.files.values())
    assert dataclasses.replace(subject, stored=None).layout("cpu").total == predicted.total


def test_int8_for_ascend_is_what_the_portable_form_stores(tmp_path: Path) -> None:
    """The same numerics, written by glmlite itself: integers, a scale and a zero point a row."""
    checkpoint = open_checkpoint(write_checkpoint(MODELS["glm2"], tmp_path / "checkpoint"))
    model = from_huggingface(checkpoint.raw_config)
    names = [n for n, s in parameter_shapes(model).items() if len(s) == 2 and n != EMBEDDING]
    folder = tmp_path / "weights"
    index = write_quantized(checkpoint, model, names, "int8", "float16", folder, NoProgress())
    predicted = layout(model, "int8", "ascend")
    assert predicted.tensors == {n: e["nbytes"] for n, e in index.tensors.items()}
    assert predicted.file == (folder / index.file).stat().st_size
    assert layout_of_index(model, index) == predicted


@pytest.mark.parametrize(("weights", "bits"), [("int8", 8), ("int4", 4)])
def test_blocks_are_what_the_packer_writes(weights: str, bits: int) -> None:
    import numpy as np

    config = ModelConfig(2, 256, 4, 2, 64, 320, 512, 64)
    stored = layout(config, find_weights(weights), "cpu")
    name = "transformer.encoder.layers.0.mlp.dense_4h_to_h.weight"
    packed = store_blocks(np.ones((256, 320), np.float32), bits, 128)
    for suffix, array in packed.tensors.items():
        assert stored.tensors[name + suffix] == array.nbytes
    head = store_blocks(np.ones((512, 256), np.float32), 8, 128)
    assert (
        stored.tensors["transformer.output_layer.weight.packed"] == head.tensors[".packed"].nbytes
    )
    rows = store_rows(np.ones((512, 256), np.float32))
    assert stored.embedding == sum(a.nbytes for a in rows.tensors.values())


@pytest.mark.parametrize("recipe", ["cpu_int8", "cpu_w8a8", "cpu_int4", "cpu_int4_w8a8"])
def test_recipes_for_cpus_store_exactly_these_bytes(tmp_path: Path, recipe: str) -> None:
    pytest.importorskip("onnx")
    from glmlite.bench.random_bundle import RandomModel, make_random_bundle
    from glmlite.bench.run import decode_bytes

    path = make_random_bundle(RandomModel("tiny", recipe), tmp_path / "bundle", NoProgress())
    bundle = Bundle.open(path)
    manifest = bundle.manifest
    kind = find_weights(recipe.removeprefix("cpu_"))
    predicted = layout(manifest.model, kind, "cpu")
    index = read_index(path / manifest.weights.index)
    assert predicted.tensors == {n: e["nbytes"] for n, e in index.tensors.items()}
    assert predicted.file == manifest.files["weights/data_0"].size
    assert layout_of_index(manifest.model, index) == predicted
    assert from_bundle(path).weights == kind
    row = predicted.embedding // manifest.model.vocab_size
    assert predicted.decode.read + row == decode_bytes(index)


def test_two_sets_are_read_by_turns() -> None:
    """Decoding reads what a bundle of int4 has, prefill what one of W8A8 has; the file has both."""
    both, first, second = (layout(GLM2, kind, "cpu") for kind in ("int4_w8a8", "int4", "w8a8"))
    assert both.decode == first.decode
    assert both.kinds == ("int4", "w8a8")
    # Only the output layer is another: prefill shares decoding's.
    head = "transformer.output_layer.weight"
    heads = [sum(n for name, n in s.tensors.items() if head in name) for s in (first, second)]
    assert both.prefill.read - heads[0] == second.prefill.read - heads[1]
    own = {name: n for name, n in both.tensors.items() if name.startswith("prefill/")}
    assert both.total == first.total + sum(own.values())
    assert both.decode.read + both.prefill.read > both.total - both.embedding


@pytest.mark.parametrize(
    ("kind", "nbytes"),
    [
        ("int8", 6_431_709_184),
        ("w8a8", 6_266_079_232),
        ("int4", 3_576_436_736),
        ("int4_w8a8", 9_292_400_640),
    ],
)
def test_bytes_of_the_6b_model(kind: WeightKind, nbytes: int) -> None:
    """What the bundles of benchmarks/RESULTS.md say in their manifests."""
    assert layout(GLM2, kind, "cpu").total == nbytes


def test_smaller_kinds_are_smaller() -> None:
    sizes = [layout(GLM2, kind, "cpu").total for kind in MATRIX_KINDS]
    assert sizes == sorted(sizes, reverse=True)


def test_other_pairs_of_sets_go_by_the_first() -> None:
    found = dataclasses.replace(
        layout(GLM2, "int8", "cpu"), prefill=layout(GLM2, "w8a8", "cpu").prefill
    )
    assert found.kinds == ("int8", "w8a8")
    assert found.name == "int8"


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="the nearest are int8"):
        find_weights("int88")
