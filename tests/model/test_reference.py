"""The NumPy oracle against results of the official PyTorch code."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from glmlite.checkpoint import open_checkpoint
from glmlite.errors import CheckpointError, EngineError
from glmlite.model.config import ModelConfig, RopeConfig, from_huggingface
from glmlite.model.parameters import EMBEDDING, OUTPUT, parameter_shapes
from glmlite.model.reference import forward, hidden_states, rms_norm, rotation
from glmlite.runtime.engines.base import Cache
from glmlite.runtime.engines.reference import ReferenceEngine
from tests.oracle import forward64

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "glm2_tiny"
CASES = ["len1", "len5", "len17", "len64"]
TOLERANCE = 1e-4

TINY = ModelConfig(
    num_layers=2,
    hidden_size=24,
    num_heads=4,
    num_groups=2,
    head_dim=8,
    ffn_hidden_size=20,
    vocab_size=50,
    seq_length=64,
)


class RandomWeights:
    """Seeded weights of a configuration, as any `WeightSource` gives them."""

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.tensors = {
            name: rng.normal(0, 0.3, shape).astype(np.float32)
            for name, shape in parameter_shapes(config).items()
        }
        self.reads: list[str] = []

    def shapes(self):
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    def read(self, name):
        self.reads.append(name)
        return self.tensors[name].copy()


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.exists():
        pytest.skip(f"golden data is absent: {GOLDEN}")
    checkpoint = open_checkpoint(GOLDEN)
    cases = json.loads((GOLDEN / "cases.json").read_text(encoding="utf-8"))
    return (
        from_huggingface(checkpoint.raw_config),
        checkpoint,
        {case["name"]: case for case in cases["cases"]},
        np.load(GOLDEN / "arrays.npz"),
    )


def run(engine, cache, ids, position=0):
    """One row through `step`."""
    return engine.step(
        np.array([ids], np.int32),
        np.array([position], np.int32),
        np.array([len(ids)], np.int32),
        cache,
    )[0]


def test_prefill_logits_of_all_cases_together(golden):
    config, checkpoint, cases, arrays = golden
    logits = forward(config, checkpoint, [cases[name]["input_ids"] for name in CASES])
    for name, rows in zip(CASES, logits, strict=True):
        expected = arrays[cases[name]["prefill_logits"]]
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, expected, rtol=0, atol=TOLERANCE)


def test_hidden_states(golden):
    config, checkpoint, cases, arrays = golden
    states = list(hidden_states(config, checkpoint, [cases["len17"]["input_ids"]]))
    np.testing.assert_allclose(
        np.stack(states), arrays["len17_hidden_states"], rtol=0, atol=TOLERANCE
    )
    final = rms_norm(
        states[-1], checkpoint.read("transformer.encoder.final_layernorm.weight"), config.norm_eps
    )
    np.testing.assert_allclose(final, arrays["len17_final_hidden"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_engine_greedy(golden, name, chunk):
    config, checkpoint, cases, arrays = golden
    case = cases[name]
    engine = ReferenceEngine(config, checkpoint, cache_length=128)
    cache = engine.new_cache()
    prompt = case["input_ids"]
    for start in range(0, len(prompt), chunk):
        logits = run(engine, cache, prompt[start : start + chunk], start)
    expected = arrays[case["greedy_logits"]]
    generated = []
    for step in range(48):
        np.testing.assert_allclose(logits, expected[step], rtol=0, atol=TOLERANCE)
        generated.append(int(logits.argmax()))
        logits = run(engine, cache, generated[-1:], len(prompt) + step)
    assert generated == case["greedy_ids"]


def test_engine_cache_arrays(golden):
    config, checkpoint, cases, arrays = golden
    engine = ReferenceEngine(config, checkpoint, cache_length=32)
    cache = engine.new_cache()
    run(engine, cache, cases["len17"]["input_ids"])
    for ours, theirs in ((cache.keys, "len17_kv_key"), (cache.values, "len17_kv_value")):
        expected = arrays[theirs][:, :, 0].transpose(0, 2, 1, 3)
        np.testing.assert_allclose(ours[:, 0, :, :17], expected, rtol=0, atol=TOLERANCE)
        assert not ours[:, :, :, 17:].any()


def test_engine_rows_at_different_positions(golden):
    """Four rows decode the four cases in one batch, each joining when its prompt is in."""
    config, checkpoint, cases, arrays = golden
    engine = ReferenceEngine(config, checkpoint, batch_size=4, cache_length=128)
    cache = engine.new_cache()
    fed = [list(cases[name]["input_ids"]) + cases[name]["greedy_ids"][:10] for name in CASES]
    position = np.zeros(4, np.int32)
    last = np.zeros((4, config.vocab_size), np.float32)
    while any(position[row] < len(fed[row]) for row in range(4)):
        chunks = [ids[position[row] :][: 5 + row] for row, ids in enumerate(fed)]
        valid = np.array([len(chunk) for chunk in chunks], np.int32)
        ids = np.zeros((4, 9), np.int32)
        for row, chunk in enumerate(chunks):
            ids[row, : len(chunk)] = chunk
        before = cache.keys.copy()
        logits = engine.step(ids, position, valid, cache)
        for row in range(4):
            if valid[row]:
                last[row] = logits[row]
            else:
                np.testing.assert_array_equal(cache.keys[:, row], before[:, row])
        position += valid
    for row, name in enumerate(CASES):
        expected = arrays[cases[name]["greedy_logits"]][10]
        np.testing.assert_allclose(last[row], expected, rtol=0, atol=TOLERANCE)


def test_engine_score_equals_prefill(golden):
    config, checkpoint, cases, arrays = golden
    engine = ReferenceEngine(config, checkpoint, batch_size=2, cache_length=64)
    ids = np.zeros((2, 19), np.int32)
    ids[0, :17] = cases["len17"]["input_ids"]
    valid = np.array([17, 0], np.int32)
    logits = engine.score(ids, np.zeros(2, np.int32), valid, engine.new_cache())
    assert logits.shape == (2, 19, config.vocab_size)
    expected = arrays["len17_prefill_logits"]
    np.testing.assert_allclose(logits[0, :17], expected, rtol=0, atol=TOLERANCE)


def test_rolling_back_is_setting_the_position(golden):
    config, checkpoint, cases, _ = golden
    engine = ReferenceEngine(config, checkpoint, cache_length=64)
    prompt = cases["len17"]["input_ids"]
    cache = engine.new_cache()
    run(engine, cache, prompt)
    run(engine, cache, [5, 6, 7], 17)
    again = run(engine, cache, prompt[10:], 10)
    np.testing.assert_allclose(
        again, run(engine, engine.new_cache(), prompt), rtol=0, atol=TOLERANCE
    )


def test_rope_rules():
    positions = np.array([0, 1, 100])
    standard = rotation(TINY, positions)
    linear = rotation(
        ModelConfig(**{**TINY.__dict__, "rope": RopeConfig("linear", 4.0)}), positions * 4
    )
    np.testing.assert_allclose(standard, linear, atol=1e-6)
    cos, sin = rotation(
        ModelConfig(**{**TINY.__dict__, "rope": RopeConfig("base", 50.0)}), np.array([3])
    )
    # head_dim 8: two pairs, with the angles 3 and 3 / sqrt(10000 · 50)
    np.testing.assert_allclose(cos[0], np.cos([3.0, 3.0 / np.sqrt(5e5)]), atol=1e-7)
    np.testing.assert_allclose(sin[0], np.sin([3.0, 3.0 / np.sqrt(5e5)]), atol=1e-7)


def test_prefix_is_the_cache_of_slots_without_positions():
    """A prefix equals cache slots that earlier tokens of the same keys would have filled."""
    weights = RandomWeights(TINY)
    rng = np.random.default_rng(1)
    shape = (TINY.num_groups, 3, TINY.head_dim)
    prefix = [
        (rng.normal(size=shape).astype(np.float32), rng.normal(size=shape).astype(np.float32))
        for _ in range(TINY.num_layers)
    ]
    sequences = [[1, 2, 3, 4], [7], [9, 9]]
    expected = forward(TINY, weights, sequences, prefix=prefix)
    engine = ReferenceEngine(TINY, weights, prefix, batch_size=3, cache_length=7)
    assert engine.spec.capacity == 4
    cache = engine.new_cache()
    ids = np.array([[1, 2, 3, 4], [7, 0, 0, 0], [9, 9, 0, 0]], np.int32)
    logits = engine.step(ids, np.zeros(3, np.int32), np.array([4, 1, 2], np.int32), cache)
    for row in range(3):
        np.testing.assert_allclose(logits[row], expected[row][-1], rtol=0, atol=1e-5)
    assert np.abs(expected[1] - forward(TINY, weights, [[7]])[0]).max() > 1e-3


def test_weights_are_kept_or_streamed():
    kept, streamed = RandomWeights(TINY), RandomWeights(TINY)
    engines = [ReferenceEngine(TINY, kept), ReferenceEngine(TINY, streamed, keep_limit=0)]
    results = [run(e, e.new_cache(), [1, 2]) for e in engines for _ in range(2)]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    assert len(kept.reads) == len(parameter_shapes(TINY))
    assert len(streamed.reads) == 2 * len(parameter_shapes(TINY))


def test_float16_rounds_weights():
    weights = RandomWeights(TINY)
    rounded = RandomWeights(TINY)
    for name, tensor in rounded.tensors.items():
        rounded.tensors[name] = tensor.astype(np.float16).astype(np.float32)
    (half,) = forward(TINY, weights, [[1, 2, 3]], weight_dtype="float16")
    (expected,) = forward(TINY, rounded, [[1, 2, 3]])
    np.testing.assert_array_equal(half, expected)
    assert np.abs(half - forward(TINY, weights, [[1, 2, 3]])[0]).max() > 0
    weights.tensors[OUTPUT][0, 0] = 1e6
    with pytest.raises(CheckpointError, match="output_layer"):
        forward(TINY, weights, [[1]], weight_dtype="float16")


def test_steps_are_checked():
    engine = ReferenceEngine(TINY, RandomWeights(TINY), cache_length=4)
    cache = engine.new_cache()
    ids = np.array([[1, 2, 3]], np.int32)
    for position, valid in ((2, 3), (-1, 1), (0, 4), (0, -1)):
        with pytest.raises(EngineError, match="Row 0"):
            engine.step(ids, np.array([position], np.int32), np.array([valid], np.int32), cache)
    with pytest.raises(EngineError, match=r"0\.\.49"):
        run(engine, cache, [50])
    with pytest.raises(EngineError, match="batch size"):
        engine.step(ids[0], np.zeros(1, np.int32), np.ones(1, np.int32), cache)
    with pytest.raises(EngineError, match="another engine"):
        run(engine, Cache(), [1])
    assert not cache.keys.any()
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        run(engine, cache, [1])


def test_idle_batch_costs_nothing():
    weights = RandomWeights(TINY)
    engine = ReferenceEngine(TINY, weights, batch_size=2)
    idle = np.zeros(2, np.int32)
    logits = engine.step(np.zeros((2, 4), np.int32), idle, idle, engine.new_cache())
    assert logits.shape == (2, TINY.vocab_size)
    assert weights.reads == [EMBEDDING]


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("rope", [RopeConfig("linear", 16.0), RopeConfig("base", 50.0)])
@pytest.mark.parametrize("bias", [True, False])
def test_variants_against_the_float64_oracle(groups, rope, bias):
    config = dataclasses.replace(TINY, num_groups=groups, rope=rope, qkv_bias=bias)
    weights = RandomWeights(config, seed=groups)
    rng = np.random.default_rng(7)
    shape = (groups, 3, config.head_dim)
    prefix = [
        (rng.normal(size=shape).astype(np.float32), rng.normal(size=shape).astype(np.float32))
        for _ in range(config.num_layers)
    ]
    raw = {
        "num_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "kv_channels": config.head_dim,
        "multi_query_attention": True,
        "multi_query_group_num": groups,
        "layernorm_epsilon": config.norm_eps,
        "add_qkv_bias": bias,
    }
    sequences = [list(range(1, 30)), [4, 4], [49]]
    logits = forward(config, weights, sequences, prefix=prefix)
    for ids, rows in zip(sequences, logits, strict=True):
        expected = forward64.forward(
            weights.tensors, raw, ids, rope=forward64.Rope(rope.kind, rope.ratio), prefix=prefix
        )
        np.testing.assert_allclose(rows, expected.logits, rtol=0, atol=1e-4)
