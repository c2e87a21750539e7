"""Random adapters for the tiny models, as PEFT, mindpet and P-Tuning v2 save them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tests.fixtures import drawing
from tests.fixtures.models import TinyModel
from tests.oracle import forward64

QKV = "self_attention.query_key_value"
ALL = (QKV, "self_attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")

Factors = dict[str, tuple[NDArray[Any], NDArray[Any]]]


def draw_factors(
    model: TinyModel,
    rank: int,
    *,
    seed: int = 0,
    modules: Sequence[str] = (QKV,),
    dtype: Any = np.float32,
) -> Factors:
    """A [r, in] and B [out, r] for those modules of every layer; both far from zero."""
    rng = np.random.default_rng(seed)
    shapes = drawing.parameter_shapes(model)
    factors = {}
    for layer in range(model.config["num_layers"]):
        for module in modules:
            name = f"transformer.encoder.layers.{layer}.{module}"
            rows, columns = shapes[f"{name}.weight"]
            a = rng.normal(size=(rank, columns)) / np.sqrt(columns)
            b = rng.normal(size=(rows, rank)) * 0.2
            factors[name] = (a.astype(dtype), b.astype(dtype))
    return factors


def terms(factors: Factors, scale: float) -> forward64.LowRank:
    """The same factors for the oracle."""
    return {f"{name}.weight": [(scale, a, b)] for name, (a, b) in factors.items()}


def write_peft(
    folder: Path,
    factors: Factors,
    *,
    infix: str = "",
    more: Mapping[str, NDArray[Any]] | None = None,
    **config: Any,
) -> Path:
    """A PEFT folder; `config` goes into adapter_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = dict(more or {})
    for name, (a, b) in factors.items():
        tensors[f"base_model.model.{name}.lora_A{infix}.weight"] = a
        tensors[f"base_model.model.{name}.lora_B{infix}.weight"] = b
    save_file(tensors, folder / "adapter_model.safetensors")
    told = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "inference_mode": True,
        "base_model_name_or_path": "THUDM/chatglm2-6b",
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "lora_dropout": 0.1,
        "modules_to_save": None,
        "target_modules": ["query_key_value"],
    }
    (folder / "adapter_config.json").write_text(json.dumps(told | config), encoding="utf-8")
    return folder


def mindpet_tensors(factors: Factors, *, upper: bool = True) -> dict[str, NDArray[Any]]:
    """LoRA as MindFormers names it."""
    a_name, b_name = ("lora_A", "lora_B") if upper else ("lora_a", "lora_b")
    result = {}
    for name, (a, b) in factors.items():
        result[f"{name}.mindpet_delta_{a_name}"] = a
        result[f"{name}.mindpet_delta_{b_name}"] = b
    return result


def draw_encoder(
    model: TinyModel, length: int, inner: int, seed: int = 0
) -> dict[str, NDArray[np.float32]]:
    """table, weight_in, bias_in, weight_out, bias_out of a prefix encoder with projection."""
    rng = np.random.default_rng(seed)
    width = model.config["num_layers"] * 2 * model.groups * model.config["kv_channels"]
    shapes = {
        "table": (length, width),
        "weight_in": (inner, width),
        "bias_in": (inner,),
        "weight_out": (width, inner),
        "bias_out": (width,),
    }
    spread = {"weight_in": width**-0.5, "weight_out": inner**-0.5}
    return {
        name: (rng.normal(size=shape) * spread.get(name, 0.7)).astype(np.float32)
        for name, shape in shapes.items()
    }


OFFICIAL = {
    "table": "transformer.prefix_encoder.embedding.weight",
    "weight_in": "transformer.prefix_encoder.trans.0.weight",
    "bias_in": "transformer.prefix_encoder.trans.0.bias",
    "weight_out": "transformer.prefix_encoder.trans.2.weight",
    "bias_out": "transformer.prefix_encoder.trans.2.bias",
}
MINDFORMERS = {
    "table": "prefix_encoder.mindpet_delta_ptuning2_embedding.embedding_table",
    "weight_in": "prefix_encoder.mindpet_delta_ptuning2_dense_in.weight",
    "bias_in": "prefix_encoder.mindpet_delta_ptuning2_dense_in.bias",
    "weight_out": "prefix_encoder.mindpet_delta_ptuning2_dense_out.weight",
    "bias_out": "prefix_encoder.mindpet_delta_ptuning2_dense_out.bias",
}


def named(parts: Mapping[str, NDArray[Any]], names: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """A prefix encoder under the names that one of its authors gives it."""
    tensors = {names[part]: array for part, array in parts.items()}
    if names is MINDFORMERS:
        length = len(parts["table"])
        tensors["prefix_encoder.mindpet_delta_ptuning2_prefix"] = np.arange(length)
    return tensors


def encoded_cache(
    model: TinyModel, parts: Mapping[str, NDArray[Any]]
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """What a prefix encoder gives, slot by slot in float64; per layer [groups, P, head_dim]."""
    groups, dim = model.groups, model.config["kv_channels"]
    length, layers = len(parts["table"]), model.config["num_layers"]
    shape = (groups, length, dim)
    cache = [(np.zeros(shape), np.zeros(shape)) for _ in range(layers)]
    for slot in range(length):
        row = parts["table"][slot].astype(np.float64)
        if "weight_in" in parts:
            inner = [
                np.tanh(sum(float(w) * x for w, x in zip(line, row, strict=True)) + float(bias))
                for line, bias in zip(parts["weight_in"], parts["bias_in"], strict=True)
            ]
            row = parts["weight_out"].astype(np.float64) @ np.array(inner) + parts["bias_out"]
        for i, value in enumerate(row):
            block, channel = divmod(i, dim)
            layer_part, group = divmod(block, groups)
            cache[layer_part // 2][layer_part % 2][group, slot, channel] = value
    return cache
