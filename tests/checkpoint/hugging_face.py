"""Hugging Face folders with a tiny random model."""

from __future__ import annotations

import json

import numpy as np
from safetensors.numpy import save_file

from glmlite.checkpoint.folder import INDEX, SINGLE
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import parameter_shapes

TINY = ModelConfig(
    num_layers=2,
    hidden_size=8,
    num_heads=2,
    num_groups=1,
    head_dim=4,
    ffn_hidden_size=6,
    vocab_size=11,
    seq_length=16,
)
QKV = "transformer.encoder.layers.1.self_attention.query_key_value.weight"


def weights(config=TINY, dtype=np.float32):
    rng = np.random.default_rng(3)
    return {n: rng.normal(size=s).astype(dtype) for n, s in parameter_shapes(config).items()}


def write_single(folder, tensors=None):
    save_file(tensors or weights(), folder / SINGLE)
    return folder


def write_sharded(folder, tensors=None, count=3):
    tensors = tensors or weights()
    names = sorted(tensors)
    weight_map = {}
    for i in range(count):
        shard = f"model-{i + 1:05}-of-{count:05}.safetensors"
        save_file({name: tensors[name] for name in names[i::count]}, folder / shard)
        weight_map.update(dict.fromkeys(names[i::count], shard))
    write_index(folder, weight_map)
    return weight_map


def write_index(folder, weight_map):
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
