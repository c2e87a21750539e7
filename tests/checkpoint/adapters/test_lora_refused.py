"""LoRA that does not fit, is damaged, or is something else, is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from glmlite.errors import CheckpointError
from tests.checkpoint.adapters.bases import Base
from tests.checkpoint.adapters.drawing import (
    QKV,
    Factors,
    draw_factors,
    mindpet_tensors,
    write_peft,
)
from tests.fixtures.models import MODELS

GLM2 = MODELS["glm2"]
FIRST = f"transformer.encoder.layers.0.{QKV}"


def _spoil(change: Any) -> Factors:
    factors = draw_factors(GLM2, 4)
    change(factors)
    return factors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.update({f"{FIRST}x": f.pop(FIRST)}), "which this model does not have"),
        (
            lambda f: f.update({FIRST: (f[FIRST][0][:, :40], f[FIRST][1])}),
            rf"{FIRST}.lora_A.weight is \[4, 40\].*must be \[4, 48\]",
        ),
        (
            lambda f: f.update({FIRST: (f[FIRST][0], f[FIRST][1][:-1])}),
            rf"{FIRST}.lora_B.weight is \[95, 4\].*must be \[96, 4\]",
        ),
        (
            lambda f: f.update({FIRST: (f[FIRST][0], f[FIRST][1][:, :2].copy())}),
            r"lora_B.weight is \[96, 2\]",
        ),
        (
            lambda f: f.update({FIRST: (f[FIRST][0][:2], f[FIRST][1][:, :2].copy())}),
            "has rank 2, but adapter_config.json says 4",
        ),
        (
            lambda f: f.update(
                {"transformer.encoder.layers.0.input_layernorm": (f[FIRST][0], f[FIRST][1])}
            ),
            "which is no matrix",
        ),
    ],
)
def test_a_base_that_does_not_fit(tmp_path: Path, base: Base, change: Any, message: str) -> None:
    folder = write_peft(tmp_path / "lora", _spoil(change), r=4, lora_alpha=8)
    with pytest.raises(CheckpointError, match=message):
        base.adapt(folder)


def test_half_a_pair(tmp_path: Path, base: Base) -> None:
    tensors = mindpet_tensors(draw_factors(GLM2, 8))
    del tensors[f"{FIRST}.mindpet_delta_lora_B"]
    save_file(tensors, tmp_path / "lora.safetensors")
    with pytest.raises(CheckpointError, match=rf"{FIRST}.mindpet_delta_lora_A is there without"):
        base.adapt(tmp_path / "lora.safetensors")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(tmp_path: Path, base: Base, value: float) -> None:
    factors = draw_factors(GLM2, 4)
    factors[FIRST][1][3, 1] = value
    folder = write_peft(tmp_path / "lora", factors, r=4, lora_alpha=8)
    with pytest.raises(CheckpointError, match=rf"{FIRST}.lora_B.weight holds NaN"):
        base.adapt(folder).read(f"{FIRST}.weight")


def test_a_product_that_overflows(tmp_path: Path, base: Base) -> None:
    factors = draw_factors(GLM2, 4)
    factors[FIRST] = tuple(f * np.float32(1e25) for f in factors[FIRST])
    folder = write_peft(tmp_path / "lora", factors, r=4, lora_alpha=8)
    with pytest.raises(CheckpointError, match=rf"{FIRST}.weight holds NaN .* adapter"):
        base.adapt(folder).read(f"{FIRST}.weight")


def test_two_adapters_in_one_file(tmp_path: Path, base: Base) -> None:
    factors = draw_factors(GLM2, 4)
    a = factors[FIRST][0]
    more = {f"base_model.model.{FIRST}.lora_A.second.weight": a}
    folder = write_peft(tmp_path / "lora", factors, more=more, r=4, lora_alpha=8)
    with pytest.raises(CheckpointError, match="are for the same matrix"):
        base.adapt(folder)


@pytest.mark.parametrize(
    "name",
    [
        f"base_model.model.{FIRST}.lora_magnitude_vector",
        f"base_model.model.{FIRST}.lora_B.bias",
        f"base_model.model.{FIRST}.ia3_l",
        "prompt_embeddings",
    ],
)
def test_tensors_of_other_methods(tmp_path: Path, base: Base, name: str) -> None:
    more = {name: np.zeros(4, np.float32)}
    folder = write_peft(tmp_path / "lora", draw_factors(GLM2, 4), more=more, r=4, lora_alpha=8)
    with pytest.raises(CheckpointError, match=f"is no adapter that glmlite knows: it holds {name}"):
        base.adapt(folder)


def test_the_base_given_as_adapter(tmp_path: Path, base: Base) -> None:
    with pytest.raises(CheckpointError, match="is no adapter that glmlite knows"):
        base.adapt(base.folder)
