"""Random weights: the same for the same seed, of the right shapes, harmless to activations."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from glmlite.bench.random_weights import RandomWeights
from glmlite.checkpoint.source import check_parameters
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import EMBEDDING, OUTPUT
from glmlite.model.reference import hidden_states

CONFIG = ModelConfig(
    num_layers=4,
    hidden_size=64,
    num_heads=4,
    num_groups=2,
    head_dim=16,
    ffn_hidden_size=96,
    vocab_size=300,
    seq_length=64,
)
# More values in one matrix than the small block has.
LARGE = dataclasses.replace(CONFIG, vocab_size=70_000)


def test_they_are_the_models_parameters():
    source = RandomWeights(CONFIG)
    check_parameters(source, CONFIG)
    for name, shape in source.shapes().items():
        array = source.read(name)
        assert (array.shape, array.dtype) == (shape, np.float32)


@pytest.mark.parametrize("config", [CONFIG, LARGE], ids=["small", "large"])
def test_a_seed_decides_every_value_in_any_order(config):
    one, other, different = (RandomWeights(config, seed) for seed in (3, 3, 4))
    names = list(one.shapes())
    backwards = {name: other.read(name) for name in reversed(names)}
    for name in names:
        np.testing.assert_array_equal(one.read(name), backwards[name])
        assert not np.array_equal(one.read(name), different.read(name))


def test_no_two_rows_and_no_two_matrices_are_alike():
    source = RandomWeights(LARGE)
    embedding = source.read(EMBEDDING)
    assert len(np.unique(embedding[:, :4], axis=0)) == len(embedding)
    correlation = np.corrcoef(embedding[:200])
    assert np.abs(correlation - np.eye(200)).max() < 0.6  # of 64 values each
    assert not np.array_equal(embedding[: len(source.read(OUTPUT))], source.read(OUTPUT))


def test_a_caller_may_change_what_it_got():
    source = RandomWeights(CONFIG)
    before = source.read(EMBEDDING)
    source.read(EMBEDDING)[:] = 0
    np.testing.assert_array_equal(source.read(EMBEDDING), before)


def test_activations_neither_vanish_nor_explode():
    ids = np.random.default_rng(0).integers(0, CONFIG.vocab_size, 20).tolist()
    deviations = [h.std() for h in hidden_states(CONFIG, RandomWeights(CONFIG), [ids])]
    assert len(deviations) == CONFIG.num_layers + 1
    assert all(0.5 < deviation < 10 for deviation in deviations), deviations
