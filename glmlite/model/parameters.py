"""Parameter names and shapes of a ChatGLM2/3, in Hugging Face naming.

Source: the official `modeling_chatglm.py`. Matrices are [out_features, in_features]:
`y = x @ weight.T`.
"""

from __future__ import annotations

import re

from glmlite.model.config import ModelConfig

EMBEDDING = "transformer.embedding.word_embeddings.weight"
FINAL_NORM = "transformer.encoder.final_layernorm.weight"
OUTPUT = "transformer.output_layer.weight"

# Buffers that checkpoints carry: recomputed from the configuration, or nothing but 0 … P-1.
_IGNORED = re.compile(r"(^|\.)(rotary_pos_emb\.inv_freq|mindpet_delta_ptuning2_prefix)$")


def layer_prefix(layer: int) -> str:
    """What the names of a layer's parameters begin with, the dot included."""
    return f"transformer.encoder.layers.{layer}."


def layer_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of one layer's parameters; names are relative to `layer_prefix`."""
    h, f = config.hidden_size, config.ffn_hidden_size
    shapes: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (h,),
        "self_attention.query_key_value.weight": (config.qkv_size, h),
    }
    if config.qkv_bias:
        shapes["self_attention.query_key_value.bias"] = (config.qkv_size,)
    shapes.update(
        {
            "self_attention.dense.weight": (h, config.query_size),
            "post_attention_layernorm.weight": (h,),
            "mlp.dense_h_to_4h.weight": (2 * f, h),
            "mlp.dense_4h_to_h.weight": (h, f),
        }
    )
    return shapes


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Every parameter of the model and its shape, in the order of the forward pass."""
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (config.vocab_size, config.hidden_size)}
    per_layer = layer_shapes(config)
    for layer in range(config.num_layers):
        shapes.update({layer_prefix(layer) + name: s for name, s in per_layer.items()})
    shapes[FINAL_NORM] = (config.hidden_size,)
    shapes[OUTPUT] = (config.vocab_size, config.hidden_size)
    return shapes


def is_ignored(name: str) -> bool:
    """Whether a checkpoint entry is a known buffer and no parameter."""
    return _IGNORED.search(name) is not None
