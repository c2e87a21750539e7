"""Sampling against its definitions, written out the slow way in float64."""

from __future__ import annotations

import itertools
import time
from collections import Counter

import numpy as np
import pytest

from glmlite.errors import ConfigError, EngineError
from glmlite.runtime.filters import apply_min_p, draw, draw_top_p, softmax_weights, top_k_indices
from glmlite.runtime.penalties import TokenCounts
from glmlite.runtime.sampling import Sampler, SamplingParams

V = 12
LOGITS = np.random.default_rng(5).normal(0, 1.5, V).astype(np.float32)
TOKENS = [3, 1, 1, 7, 4, 4, 4, 7]
PROMPT_LENGTH = 3
REAL_VOCAB = 65_024


def distribution(logits, params, tokens=(), prompt_length=0, num_ids=None, banned=()):
    """Probabilities of every id, by sorting and loops."""
    x = [float(v) for v in logits]
    for i in set(tokens):
        x[i] = x[i] / params.repetition_penalty if x[i] > 0 else x[i] * params.repetition_penalty
    for i, count in Counter(tokens[prompt_length:]).items():
        x[i] -= params.presence_penalty + count * params.frequency_penalty
    for i, bias in params.logit_bias.items():
        x[i] += bias
    allowed = [i for i in range(num_ids or len(x)) if i not in banned]
    order = sorted(allowed, key=lambda i: (-x[i], i))
    if params.temperature == 0:
        return np.eye(len(x))[order[0]]
    if params.top_k:
        order = order[: params.top_k]
    weight = {i: np.exp((x[i] - x[order[0]]) / params.temperature) for i in order}
    order = [i for i in order if weight[i] >= params.min_p]
    total, mass, kept = sum(weight[i] for i in order), 0.0, []
    for i in order:
        kept.append(i)
        mass += weight[i]
        if mass >= params.top_p * total:
            break
    probabilities = np.zeros(len(x))
    for i in kept:
        probabilities[i] = weight[i] / mass
    return probabilities


def assert_follows(counts, probabilities):
    """Chi-square within six standard deviations of its mean, and nothing outside the support."""
    possible = probabilities > 0
    assert not counts[~possible].any()
    expected = probabilities[possible] * counts.sum()
    chi2 = ((counts[possible] - expected) ** 2 / expected).sum()
    freedom = max(possible.sum() - 1, 1)
    assert chi2 < freedom + 6 * np.sqrt(2 * freedom)


COMBINATIONS = [
    dict(zip(("temperature", "top_k", "top_p", "min_p", "repetition_penalty"), values, strict=True))
    for values in itertools.product(
        (0.4, 1.0, 2.5), (0, 5), (0.3, 0.85, 1.0), (0.0, 0.1), (1.0, 1.4)
    )
]


@pytest.mark.parametrize("options", COMBINATIONS, ids=str)
def test_follows_the_exact_distribution(options):
    params = SamplingParams(
        **options, presence_penalty=0.5, frequency_penalty=-0.25, logit_bias={2: 1.5}, seed=11
    )
    sampler = Sampler(params, V, num_ids=V - 2, banned=[0])
    draws = [sampler.sample(LOGITS, TOKENS, PROMPT_LENGTH) for _ in range(1000)]
    counts = np.bincount(draws, minlength=V)
    assert_follows(
        counts, distribution(LOGITS, params, TOKENS, PROMPT_LENGTH, num_ids=V - 2, banned=[0])
    )


@pytest.mark.parametrize("options", [{}, {"top_k": 1, "temperature": 2.0}])
def test_greedy_takes_the_largest_after_penalties(options):
    params = SamplingParams(**options, presence_penalty=2.0, logit_bias={5: -100})
    got = Sampler(params, V).sample(LOGITS, TOKENS)
    assert (
        got
        == distribution(
            LOGITS, SamplingParams(presence_penalty=2.0, logit_bias={5: -100}), TOKENS
        ).argmax()
    )


def test_a_tiny_temperature_is_greedy():
    sampler = Sampler(SamplingParams(temperature=1e-300, seed=0), V)
    assert {sampler.sample(LOGITS) for _ in range(50)} == {int(LOGITS.argmax())}


def test_ties_go_to_the_lower_index():
    weights = np.array([1, 2, 2, 2, 1], np.float32)
    assert [top_k_indices(weights, k).tolist() for k in (1, 2, 3, 4, 9)] == [
        [1], [1, 2], [1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3, 4]
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    equal = np.ones(10, np.float32)
    assert {draw_top_p(equal, 0.25, rng) for _ in range(300)} == {0, 1, 2}


def test_filters_at_the_real_vocabulary():
    rng = np.random.default_rng(1)
    for scale in (0.01, 1.0, 4.0):
        weights = softmax_weights(rng.normal(0, scale, REAL_VOCAB).astype(np.float32), 0.9)
        order = np.argsort(-weights, kind="stable")
        for k in (1, 50, 20_000):
            assert set(top_k_indices(weights, k)) == set(order[:k])
        kept = weights.copy()
        apply_min_p(kept, 0.05)
        assert np.array_equal(np.flatnonzero(kept), np.flatnonzero(weights >= np.float32(0.05)))
        reached = np.cumsum(weights[order], dtype=np.float64)
        for top_p in (0.01, 0.5, 0.95):
            size = np.searchsorted(reached, top_p * reached[-1]) + 1
            # The sum of 65,024 float32 is good to about 1e-6 of itself.
            nucleus = set(order[: size + max(3, size // 10_000)])
            assert {draw_top_p(weights, top_p, rng) for _ in range(60)} <= nucleus


def test_blocked_draw_is_exact():
    weights = np.zeros(3000, np.float32)
    places = np.array([0, 255, 256, 1400, 2999])
    weights[places] = [1, 2, 3, 4, 10]
    rng = np.random.default_rng(3)
    counts = np.bincount([draw(weights, rng) for _ in range(8000)], minlength=3000)
    assert_follows(counts, weights.astype(np.float64) / 20)


def test_same_seed_same_tokens():
    def tokens(seed):
        sampler = Sampler(SamplingParams(temperature=1.5, top_p=0.95, seed=seed), V)
        return [sampler.sample(LOGITS) for _ in range(40)]

    assert tokens(7) == tokens(7)
    assert tokens(7) != tokens(8)
    assert tokens(None) != tokens(None)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 50.0])
def test_ids_that_do_not_exist_are_never_sampled(temperature):
    logits = np.full(V, -5, np.float32)
    logits[[0, V - 1]] = 100
    sampler = Sampler(SamplingParams(temperature=temperature, seed=0), V, V - 1, banned=[0, 400])
    assert {sampler.sample(logits) for _ in range(300)} <= set(range(1, V - 1))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "top_p": 0.5}])
def test_logits_that_are_no_numbers(bad, options):
    logits = LOGITS.copy()
    logits[[2, 5]] = bad
    with pytest.raises(EngineError, match="2 logits out of 12"):
        Sampler(SamplingParams(**options), V).sample(logits)


def test_logits_of_another_width():
    with pytest.raises(EngineError, match="shape"):
        Sampler(SamplingParams(), V).sample(np.zeros(V + 1, np.float32))


def test_sampling_does_not_change_the_logits():
    logits = LOGITS.copy()
    params = SamplingParams(temperature=0.7, top_k=3, repetition_penalty=2.0, logit_bias={1: 5})
    Sampler(params, V, banned=[0]).sample(logits, TOKENS)
    assert np.array_equal(logits, LOGITS)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -0.1}, {"temperature": float("nan")}, {"temperature": "hot"},
        {"temperature": float("inf")}, {"top_k": -1}, {"top_k": 1.5}, {"top_k": True},
        {"top_p": 0.0}, {"top_p": 1.1}, {"min_p": -0.1}, {"min_p": 1.5},
        {"repetition_penalty": 0}, {"presence_penalty": 2.5}, {"frequency_penalty": -3},
        {"seed": -1}, {"logit_bias": [1]}, {"logit_bias": {-1: 1.0}}, {"logit_bias": {1: 101}},
    ],
    ids=str,
)  # fmt: skip
def test_out_of_range(options):
    (name,) = options
    with pytest.raises(ConfigError, match=name):
        SamplingParams(**options)


def test_wrong_names_and_ids():
    with pytest.raises(ConfigError, match="did you mean temperature"):
        SamplingParams.from_options({"temprature": 1})
    with pytest.raises(ConfigError, match="token 11; the model's ids end at 10"):
        Sampler(SamplingParams(logit_bias={11: 1.0}), V, num_ids=11)
    with pytest.raises(ConfigError, match="nothing is left"):
        Sampler(SamplingParams(), V, num_ids=3, banned=[0, 1, 2])


def test_counts_follow_growth_and_rollback():
    rng = np.random.default_rng(2)
    counts = TokenCounts(50)
    tokens: list[int] = []
    for _ in range(200):
        if rng.random() < 0.2:
            tokens = tokens[: rng.integers(0, len(tokens) + 1)]
        tokens = [*tokens, *rng.integers(0, 50, rng.integers(0, 4)).tolist()]
        counts.update(tokens if rng.random() < 0.5 else np.array(tokens, np.int32))
        assert dict(zip(counts.ids.tolist(), counts.counts.tolist(), strict=True)) == Counter(
            tokens
        )


def test_cost_does_not_grow_with_the_history():
    """Median processor time; the benchmark has the figures, this only catches a lapse."""
    logits = np.random.default_rng(0).normal(0, 2, REAL_VOCAB).astype(np.float32)
    history = np.random.default_rng(1).integers(0, REAL_VOCAB, 30_000).astype(np.int32)
    params = SamplingParams(
        temperature=0.8, top_k=50, top_p=0.9, repetition_penalty=1.1, presence_penalty=0.5, seed=0
    )
    sampler = Sampler(params, REAL_VOCAB)
    seconds = []
    for length in range(29_900, 29_931):
        started = time.thread_time()
        sampler.sample(logits, history[:length], 100)
        seconds.append(time.thread_time() - started)
    assert sorted(seconds)[len(seconds) // 2] < 5e-3
