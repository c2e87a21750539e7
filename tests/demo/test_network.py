"""The network that is trained computes what the NumPy reference computes, and trains."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from glmlite.checkpoint import Checkpoint
from glmlite.demo import load_corpus, train
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import parameter_shapes
from glmlite.model.reference import forward
from glmlite.text import Tokenizer

ms = pytest.importorskip("mindspore", reason="MindSpore is not in this interpreter")
pytestmark = pytest.mark.mindspore


@pytest.fixture(autouse=True)
def _graph_mode() -> None:
    ms.set_context(mode=ms.GRAPH_MODE, device_target="CPU")


def test_logits_equal_the_reference(checkpoint: Checkpoint, config: ModelConfig) -> None:
    from glmlite.demo.network import Glm2

    ids = np.random.default_rng(3).integers(3, config.vocab_size, (2, 40)).astype(np.int32)
    weights = {name: checkpoint.read(name) for name in parameter_shapes(config)}
    network = Glm2(config, weights)
    logits = network(ms.Tensor(ids)).asnumpy().reshape(2, 40, -1)
    expected = forward(config, checkpoint, ids.tolist())
    assert np.abs(logits - np.stack(expected)).max() < 1e-3


def test_loss_is_the_mean_cross_entropy_of_what_is_learned() -> None:
    from glmlite.demo.network import answer_loss

    logits = np.random.default_rng(4).normal(size=(5, 7)).astype(np.float32)
    labels = np.array([-1, 2, 6, -1, 0], np.int32)
    exponentials = np.exp(logits.astype(np.float64))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    expected = -np.log(probabilities[[1, 2, 4], [2, 6, 0]]).mean()
    loss = ms.jit(answer_loss)(ms.Tensor(logits), ms.Tensor(labels))
    assert float(loss.asnumpy()) == pytest.approx(expected, rel=1e-5)


def test_training_is_seeded_and_moves_every_parameter(
    config: ModelConfig, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glmlite.demo.network import initial_weights

    monkeypatch.setattr(train, "SHAPES", [(2, 32)])
    small = dataclasses.replace(config, num_layers=1, hidden_size=32, ffn_hidden_size=48)
    before = initial_weights(small, 5)
    first = train.fit(small, tokenizer, load_corpus(), 3, 5)
    second = train.fit(small, tokenizer, load_corpus(), 3, 5)
    assert set(first) == set(parameter_shapes(small))
    for name, value in first.items():
        assert np.isfinite(value).all()
        assert not np.array_equal(value, before[name]), name
        np.testing.assert_allclose(value, second[name], atol=1e-6)
