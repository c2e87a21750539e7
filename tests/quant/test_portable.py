"""int8 and uint8 graphs on every engine, against NumPy with the same dequantized weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import glmlite
from glmlite.bundle import Bundle
from glmlite.bundle.weights import BundleWeights
from glmlite.errors import BundleError, EngineError
from glmlite.model import reference
from glmlite.quant.numerics import dequantize, quantize
from glmlite.quant.recipe import load_recipe
from tests.engines.bundles import Bundles
from tests.engines.driving import one_row
from tests.quant.conftest import SMALL

# "prefix" is "glm2" and a prefix; the toolchain's test below takes the one without.
MODELS = ("odd_sizes", "prefix")


def make(bundles: Bundles, name: str, where: str, integer: str, recipe: Path, out: Path) -> Path:
    return glmlite.quantize(
        bundles.export(name, where=where, export__prefill_tokens=[7]),
        recipe=recipe,
        output=out,
        portable=True,
        integer=integer,
        toolchain=bundles.toolchain if where == "toolchain" else None,
    )


@pytest.fixture(scope="module")
def int8(bundles: Bundles, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes each model's int8 bundle of this interpreter once."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        bundles.require(False)
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            recipe = folder / "small.cfg"
            recipe.write_text(SMALL.format(more=""), encoding="utf-8")
            made[name] = make(bundles, name, "here", "int8", recipe, folder / "out")
        return made[name]

    return get


def drive(bundles: Bundles, source: Path, made: Path, kind: str) -> None:
    """A prompt in chunks of 7, then single tokens: within 1e-3 of the largest logit."""
    float_weights = Bundle.open(source).weights()
    bundle = Bundle.open(made)
    config, stored = bundle.manifest.model, bundle.weights()
    ids = np.random.default_rng(4).integers(3, config.vocab_size, 24).tolist()
    # Weights that this test quantizes itself, not those that the bundle gives back.
    names = load_recipe(made.parent / "small.cfg").quantized_names(config)

    class Source:
        def shapes(self):
            return float_weights.shapes()

        def read(self, name):
            weight = float_weights.read(name)
            return dequantize(quantize(weight)) if name in names else weight

    (expected,) = reference.forward(config, Source(), [ids], prefix=bundle.prefix_cache())
    for name in stored.shapes():
        assert (stored.read(name) == Source().read(name)).all()
    allowed = 1e-3 * np.abs(expected).max()
    with bundles.open(made, kind) as engine:
        cache = engine.new_cache()
        for held, logits in one_row(engine, cache, ids[:14], 7):
            assert np.abs(logits - expected[held - 1]).max() <= allowed
        for held, logits in one_row(engine, cache, ids[14:], 1, position=14):
            assert np.abs(logits - expected[held - 1]).max() <= allowed


@pytest.mark.mindspore
@pytest.mark.parametrize("name", MODELS)
def test_int8_on_mindspore(bundles, int8, name) -> None:
    made = int8(name)
    source = bundles.export(name, where="here", export__prefill_tokens=[7])
    drive(bundles, source, made, "mindspore")
    drive(bundles, source, made, "reference")
    manifest = Bundle.open(made).manifest
    assert manifest.weights.quantization == "portable_int8"
    assert {entry.engine for entry in manifest.parity} == {
        f"mindspore {manifest.producer['mindspore']}"
    }
    Bundle.open(made).verify()


def test_uint8_on_lite_and_int8_on_mindspore_2_0(
    bundles, toolchain, small_recipe, tmp_path
) -> None:
    source = bundles.export("glm2", where="toolchain", export__prefill_tokens=[7])
    recipe = small_recipe("skip_quant_node=transformer.output_layer.weight")
    made = make(bundles, "glm2", "toolchain", "uint8", recipe, tmp_path / "uint8")
    for kind in ("lite_worker", "mindspore_worker"):
        drive(bundles, source, made, kind)
    assert len(Bundle.open(made).manifest.parity) == 4
    made = make(bundles, "glm2", "toolchain", "int8", recipe, tmp_path / "int8")
    drive(bundles, source, made, "mindspore_worker")
    with pytest.raises(EngineError), bundles.open(made, "mindspore") as engine:
        engine.new_cache()


def test_files_shrink(bundles, int8) -> None:
    made = int8("prefix")
    source = bundles.export("prefix", where="here", export__prefill_tokens=[7])
    before, after = (Bundle.open(p).manifest.weights.bytes for p in (source, made))
    config = Bundle.open(source).manifest.model
    embedding = 4 * config.vocab_size * config.hidden_size
    assert after - embedding < 0.5 * (before - embedding)  # tiny rows: scales weigh much


def test_a_damaged_index_is_refused(int8, tmp_path) -> None:
    shutil.copytree(int8("prefix") / "weights", tmp_path / "weights")
    path = tmp_path / "weights" / "index.json"
    text = path.read_text()
    data = json.loads(text)
    name = next(n for n in data["tensors"] if n.endswith(".scale"))
    for change in ("drop", "shape", "dtype"):
        tensors = json.loads(text)["tensors"]
        if change == "drop":
            del tensors[name]
        elif change == "shape":
            tensors[name]["shape"] = [1]
            tensors[name]["nbytes"] = 4
        else:
            tensors[name]["dtype"] = "int8"
        path.write_text(json.dumps(dict(data, tensors=tensors)))
        with pytest.raises(BundleError):
            BundleWeights(path)
