"""LoRA merged into the weights equals LoRA computed beside them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from glmlite.checkpoint.adapters import AdaptedCheckpoint
from glmlite.errors import CheckpointError, ConfigError
from glmlite.exporter.config import Adapter
from glmlite.model.reference import forward
from tests.checkpoint.adapters.bases import Base
from tests.checkpoint.adapters.drawing import (
    ALL,
    QKV,
    draw_factors,
    mindpet_tensors,
    terms,
    write_peft,
)
from tests.fixtures import drawing
from tests.fixtures.models import MODELS, TinyModel
from tests.fixtures.writing import write_checkpoint, write_safetensors
from tests.oracle import forward64

GLM2, GLM3_HALF, BF16 = MODELS["glm2"], MODELS["fp16_shards"], MODELS["bf16"]
FIRST = f"transformer.encoder.layers.0.{QKV}"


def check_merged(base: Base, adapted: AdaptedCheckpoint, low_rank: forward64.LowRank) -> None:
    """Matrices, products and whole forward passes agree with the separate computation to 1e-5."""
    stored = drawing.tensors(base.model)
    rng = np.random.default_rng(9)
    for name, tensor in stored.items():
        merged = adapted.read(name)
        assert merged.shape == tensor.shape
        if name not in low_rank:
            np.testing.assert_array_equal(merged, tensor)
            continue
        assert merged.dtype == np.float32
        x = rng.normal(size=(3, tensor.shape[1])) / math.sqrt(tensor.shape[1])
        separate = x @ tensor.T.astype(np.float64)
        for scale, a, b in low_rank[name]:
            separate += scale * ((x @ a.T.astype(np.float64)) @ b.T.astype(np.float64))
        np.testing.assert_allclose(x @ merged.T.astype(np.float64), separate, atol=1e-5, rtol=0)
    ids = base.model.prompts["short"]
    wanted = forward64.forward(
        stored, base.model.config, ids, rope=base.model.rope, low_rank=low_rank
    ).logits
    merged_weights = {name: adapted.read(name) for name in stored}
    found = forward64.forward(merged_weights, base.model.config, ids, rope=base.model.rope).logits
    assert np.abs(found - wanted).max() < 1e-5
    plain = forward64.forward(stored, base.model.config, ids, rope=base.model.rope).logits
    assert np.abs(wanted - plain).max() > 0.1, "the adapter must matter"
    (reference,) = forward(base.config, adapted, [ids])
    np.testing.assert_allclose(reference, wanted, atol=2e-4, rtol=0)


@pytest.mark.parametrize("model", [GLM2, GLM3_HALF, BF16], ids=lambda model: model.name)
def test_peft_on_every_dtype(tmp_path: Path, model: TinyModel) -> None:
    base = Base(model, write_checkpoint(model, tmp_path / "base"))
    factors = draw_factors(model, 4, modules=ALL)
    folder = write_peft(tmp_path / "lora", factors, r=4, lora_alpha=16)
    check_merged(base, base.adapt(folder), terms(factors, 16 / 4))


@pytest.mark.parametrize("upper", [True, False])
def test_mindpet_defaults(tmp_path: Path, base: Base, upper: bool) -> None:
    factors = draw_factors(GLM2, 8)
    save_file(mindpet_tensors(factors, upper=upper), tmp_path / "lora.safetensors")
    check_merged(base, base.adapt(tmp_path / "lora.safetensors"), terms(factors, 32 / 8))


def test_mindpet_of_another_rank_needs_alpha(tmp_path: Path, base: Base) -> None:
    factors = draw_factors(GLM2, 16)
    path = tmp_path / "lora.safetensors"
    save_file(mindpet_tensors(factors), path)
    with pytest.raises(ConfigError, match=r"rank 16.*\n.*\{path: …, alpha: …\}"):
        base.adapt(path)
    check_merged(base, base.adapt(Adapter(path, alpha=24.0)), terms(factors, 24 / 16))


def test_mindpet_in_the_checkpoint_itself(tmp_path: Path) -> None:
    """MindFormers saves a LoRA training as one file: base, factors, optimizer state."""
    folder = write_checkpoint(GLM2, tmp_path / "base")
    factors = draw_factors(GLM2, 8)
    tensors = drawing.tensors(GLM2) | mindpet_tensors(factors)
    write_safetensors(folder / "model.safetensors", tensors, "float32")
    base = Base(GLM2, folder)
    check_merged(base, base.adapt(), terms(factors, 4.0))
    told = base.adapt(Adapter(folder, weight=0.5, alpha=16.0))
    check_merged(base, told, terms(factors, 1.0))
    assert len(told.fingerprint()["adapters"]) == 1


@pytest.mark.parametrize(
    ("config", "scales"),
    [
        ({"r": 4, "lora_alpha": 8, "use_rslora": True}, {"": 8 / math.sqrt(4)}),
        (
            {"r": 4, "lora_alpha": 8, "alpha_pattern": {"dense": 2, r"mlp\..*": 3.0}},
            {"self_attention.dense": 0.5, "mlp.": 0.75, "": 2.0},
        ),
        (
            {"r": 2, "lora_alpha": 8, "rank_pattern": {r"layers.\d+.*": 4}},
            {"": 2.0},
        ),
        ({"r": 4, "lora_alpha": 8, "infix": ".default"}, {"": 2.0}),
    ],
)
def test_scales_of_peft(
    tmp_path: Path, base: Base, config: dict[str, Any], scales: dict[str, float]
) -> None:
    factors = draw_factors(GLM2, 4, modules=ALL)
    folder = write_peft(tmp_path / "lora", factors, **config)
    expected: dict[str, Any] = {}
    for name, (a, b) in factors.items():
        scale = next(value for part, value in scales.items() if part in name)
        expected[f"{name}.weight"] = [(scale, a, b)]
    check_merged(base, base.adapt(folder), expected)


def test_several_with_weights(tmp_path: Path, base: Base) -> None:
    first, second = draw_factors(GLM2, 4), draw_factors(GLM2, 8, seed=1, modules=ALL)
    write_peft(tmp_path / "one", first, r=4, lora_alpha=8)
    save_file(mindpet_tensors(second), tmp_path / "two.safetensors")
    adapted = base.adapt(
        Adapter(tmp_path / "one", weight=0.25), Adapter(tmp_path / "two.safetensors", weight=1.5)
    )
    low_rank = {name: list(term) for name, term in terms(second, 1.5 * 4).items()}
    for name, term in terms(first, 0.25 * 2).items():
        low_rank[name] += term
    check_merged(base, adapted, low_rank)
    records = adapted.fingerprint()["adapters"]
    assert [r["weight"] for r in records] == [0.25, 1.5]
    assert [r["kinds"] for r in records] == [["peft"], ["mindpet"]]
    assert [(r["rank"], r["alpha"]) for r in records] == [([4], [8.0]), ([8], [32.0])]
    assert records[0]["sha256"] != records[1]["sha256"]


def test_large_matrices_are_merged_in_pieces() -> None:
    from glmlite.checkpoint.adapters.low_rank import LowRankTerm, add_terms

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 7)).astype("f4"), rng.normal(size=(1100, 3)).astype("f4")
    source = _Tensors({"a": a, "b": b})
    matrix = rng.normal(size=(1100, 7)).astype(np.float16)
    before = matrix.copy()
    merged = add_terms(matrix, [LowRankTerm(source, "w", "a", "b", 3, 3.0, 0.5)])
    np.testing.assert_allclose(merged, before.astype("f8") + 0.5 * b.astype("f8") @ a, atol=1e-6)
    np.testing.assert_array_equal(matrix, before)


def test_embeddings_of_peft(tmp_path: Path, base: Base) -> None:
    rng = np.random.default_rng(4)
    a = rng.normal(size=(2, GLM2.vocab_size)).astype("f4")
    b = rng.normal(size=(GLM2.config["hidden_size"], 2)).astype("f4")
    module = "base_model.model.transformer.embedding.word_embeddings"
    more = {f"{module}.lora_embedding_A": a, f"{module}.lora_embedding_B": b}
    folder = write_peft(tmp_path / "lora", {}, more=more, r=2, lora_alpha=1)
    name = "transformer.embedding.word_embeddings.weight"
    wanted = drawing.tensors(GLM2)[name] + 0.5 * (b.astype("f8") @ a).T
    np.testing.assert_allclose(base.adapt(folder).read(name), wanted, atol=1e-5)


def test_modules_to_save_replace_the_base(tmp_path: Path, base: Base) -> None:
    head = np.random.default_rng(0).normal(size=(GLM2.vocab_size, 48)).astype("f4")
    bias = np.random.default_rng(1).normal(size=(96,)).astype("f4")
    more = {
        "base_model.model.transformer.output_layer.weight": head,
        f"base_model.model.{FIRST}.base_layer.bias": bias,
    }
    config = {"r": 4, "lora_alpha": 4, "modules_to_save": ["output_layer"], "bias": "lora_only"}
    factors = draw_factors(GLM2, 4)
    folder = write_peft(tmp_path / "lora", factors, more=more, **config)
    adapted = base.adapt(folder)
    np.testing.assert_array_equal(adapted.read("transformer.output_layer.weight"), head)
    np.testing.assert_array_equal(adapted.read(f"{FIRST}.bias"), bias)
    with pytest.raises(ConfigError, match="cannot be scaled"):
        base.adapt(Adapter(folder, weight=0.5))
    other = write_peft(tmp_path / "other", factors, more=more, **config)
    with pytest.raises(ConfigError, match=r"lora and other both bring transformer"):
        base.adapt(folder, other)
    without = write_peft(tmp_path / "without", factors, **config)
    with pytest.raises(CheckpointError, match="promises the whole module output_layer"):
        base.adapt(without)


class _Tensors:
    """Arrays as a `WeightSource`."""

    def __init__(self, arrays: dict[str, Any]) -> None:
        self.arrays = arrays

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: array.shape for name, array in self.arrays.items()}

    def read(self, name: str) -> Any:
        return self.arrays[name].copy()


def test_a_file_without_its_configuration(tmp_path: Path, base: Base) -> None:
    factors = draw_factors(GLM2, 4)
    folder = write_peft(tmp_path / "lora", factors, r=4, lora_alpha=8)
    file = folder / "adapter_model.safetensors"
    check_merged(base, base.adapt(file), terms(factors, 2.0))  # found beside the file
    (folder / "adapter_config.json").unlink()
    with pytest.raises(ConfigError, match="its scale is unknown"):
        base.adapt(file)
    check_merged(base, base.adapt(Adapter(file, alpha=8.0)), terms(factors, 2.0))
