"""What enters each matrix, against the float64 oracle."""

from __future__ import annotations

import numpy as np
import pytest

from glmlite.errors import CheckpointError
from glmlite.model.config import ModelConfig, from_huggingface
from glmlite.model.parameters import EMBEDDING, parameter_shapes
from glmlite.progress import NoProgress
from glmlite.quant.calibration import collect, observe_network, statistics
from glmlite.quant.sample import Sample
from tests.fixtures import drawing
from tests.fixtures.models import MODELS
from tests.oracle import forward64
from tests.quant.networks import Tensors


def matrices(config: ModelConfig) -> list[str]:
    shapes = parameter_shapes(config)
    return [n for n, shape in shapes.items() if len(shape) == 2 and n != EMBEDDING]


@pytest.fixture(scope="module", params=["glm2", "every_head_a_group"])
def network(request):
    model = MODELS[request.param]
    return model, from_huggingface(model.config), Tensors(drawing.tensors(model))


def drawn_windows(model) -> tuple[list[int], ...]:
    return tuple(drawing.draw_ids(model, n, seed=n) for n in (30, 30, 7))


def test_every_matrix_sees_what_the_oracle_computes(network):
    model, config, weights = network
    windows = drawn_windows(model)
    found = collect(config, weights, Sample("x", windows, 2), None, NoProgress())
    passes = [forward64.forward(weights, model.config, ids).inputs for ids in windows]
    assert sorted(found) == sorted(matrices(config)) == sorted(passes[0])
    for name, stats in found.items():
        rows = np.concatenate([inputs[name] for inputs in passes])
        assert stats.tokens == len(rows) == 67
        assert stats.absmax.dtype == stats.mean_square.dtype == np.float32
        np.testing.assert_allclose(stats.absmax, np.abs(rows).max(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(stats.mean_square, (rows**2).mean(axis=0), rtol=1e-4, atol=1e-6)
        assert stats.minimum == pytest.approx(rows.min(), rel=1e-4)
        assert stats.maximum == pytest.approx(rows.max(), rel=1e-4)


def test_a_prefix_changes_what_later_layers_see():
    model = MODELS["prefix"]
    config, weights = from_huggingface(model.config), Tensors(drawing.tensors(model))
    prefix, ids = drawing.prefix_cache(model), drawing.draw_ids(model, 12, seed=3)
    found = collect(
        config,
        weights,
        Sample("x", (ids,), 2),
        [(k.astype(np.float32), v.astype(np.float32)) for k, v in prefix],
        NoProgress(),
    )
    inputs = forward64.forward(weights, model.config, ids, rope=model.rope, prefix=prefix).inputs
    for name, stats in found.items():
        np.testing.assert_allclose(
            stats.mean_square, (inputs[name] ** 2).mean(axis=0), rtol=1e-4, atol=1e-6
        )


def test_what_an_observer_returns_is_multiplied_instead(network):
    """Zeros into every matrix: only the embedding and the QKV bias are left of the network."""
    model, config, weights = network
    seen: dict[str, np.ndarray] = {}

    def silence(name: str, x: np.ndarray) -> np.ndarray:
        seen[name] = x.copy()
        return np.zeros_like(x)

    ids = drawing.draw_ids(model, 9, seed=1)
    observe_network(config, weights, Sample("x", (ids,), 2), None, silence, NoProgress())
    assert sorted(seen) == sorted(matrices(config))
    x = weights[EMBEDDING][ids].astype(np.float64)
    norm = weights["transformer.encoder.final_layernorm.weight"].astype(np.float64)
    expected = forward64.rms_norm(x, norm, config.norm_eps)
    np.testing.assert_allclose(seen["transformer.output_layer.weight"], expected, atol=1e-5)


def test_many_rows_are_summed_in_float64():
    """Squares of 1e4 beside squares of 1e-2: a float32 sum would lose the small ones."""
    x = np.full((5000, 2), 1e-2, np.float32)
    x[0] = 1e4
    found = statistics(np.tile(x, (1, 500)))
    assert found.mean_square[0] == pytest.approx((1e8 + 4999 * 1e-4) / 5000, rel=1e-7)
    assert (found.minimum, found.maximum, found.tokens) == (np.float32(1e-2), 1e4, 5000)
    assert found.absmax[0] == 1e4


def test_an_overflowing_network_is_named(network):
    _model, config, weights = network
    broken = Tensors(weights)
    name = "transformer.encoder.layers.1.mlp.dense_h_to_4h.weight"
    broken[name] = np.full_like(broken[name], 3e38, dtype=np.float32)
    with (
        np.errstate(all="ignore"),
        pytest.raises(CheckpointError, match=r"enters transformer.encoder.layers.1.mlp.dense_4h"),
    ):
        collect(config, broken, Sample("x", ([5, 6, 7],), 2), None, NoProgress())
