"""GLM2 as it is trained: whole sequences from position 0, no cache.

The export's network (`glmlite.toolchain.network`) computes the same function step by step; parity
of the demo's export proves that the two agree. Parameters carry Hugging Face names.
"""

from __future__ import annotations

import math
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from numpy.typing import NDArray

from glmlite.model.config import ModelConfig
from glmlite.model.parameters import EMBEDDING, FINAL_NORM, OUTPUT, layer_prefix, parameter_shapes
from glmlite.toolchain.network import pair_rotation, rotary_tables

_MASKED = -1e4


def initial_weights(config: ModelConfig, seed: int) -> dict[str, NDArray[np.float32]]:
    """Random float32 weights under Hugging Face names.

    Matrices are normal with deviation 0.02; those that write to the residual stream are scaled down
    by the square root of their number (GPT-2). Norms are 1, biases 0.
    """
    rng = np.random.default_rng(seed)
    weights: dict[str, NDArray[np.float32]] = {}
    for name, shape in parameter_shapes(config).items():
        if len(shape) == 1:
            value = np.zeros(shape) if name.endswith("bias") else np.ones(shape)
        else:
            value = rng.normal(0.0, 0.02, shape)
            if name.endswith(("self_attention.dense.weight", "dense_4h_to_h.weight")):
                value /= math.sqrt(2 * config.num_layers)
        weights[name] = value.astype(np.float32)
    return weights


def rms_norm(x: Tensor, weight: Parameter, eps: float) -> Tensor:
    """Root mean square normalization over the last axis (arXiv 1910.07467)."""
    return x * ops.rsqrt(ops.mean(ops.square(x), -1, True) + eps) * weight


class Layer(nn.Cell):  # type: ignore[misc]
    """One pre-norm block: grouped-query attention, then a SwiGLU MLP."""

    def __init__(self, config: ModelConfig, params: dict[str, Parameter], index: int) -> None:
        super().__init__(auto_prefix=False)
        prefix = layer_prefix(index)
        self.attention_norm = params[prefix + "input_layernorm.weight"]
        self.qkv = params[prefix + "self_attention.query_key_value.weight"]
        self.qkv_bias = params[prefix + "self_attention.query_key_value.bias"]
        self.dense = params[prefix + "self_attention.dense.weight"]
        self.mlp_norm = params[prefix + "post_attention_layernorm.weight"]
        self.up = params[prefix + "mlp.dense_h_to_4h.weight"]
        self.down = params[prefix + "mlp.dense_4h_to_h.weight"]
        self.heads, self.groups = config.num_heads, config.num_groups
        self.head_dim, self.ffn = config.head_dim, config.ffn_hidden_size
        self.query_size, self.group_size = config.query_size, config.group_size
        self.eps = config.norm_eps
        self.scale = 1.0 / math.sqrt(config.head_dim)
        self.rotation = Tensor(pair_rotation(config.head_dim))
        self.linear = ops.MatMul(transpose_b=True)
        self.scores = ops.BatchMatMul(transpose_b=True)
        self.mix = ops.BatchMatMul()

    def split_heads(self, x: Tensor, batch: int, tokens: int, heads: int) -> Tensor:
        """[B·L, heads·head_dim] -> [B, heads, L, head_dim]."""
        return ops.transpose(ops.reshape(x, (batch, tokens, heads, self.head_dim)), (0, 2, 1, 3))

    def rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotary embedding of [B, heads, L, head_dim]; cos and sin are [L, head_dim]."""
        return x * cos + ops.matmul(x, self.rotation) * sin

    def construct(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, batch: int, tokens: int
    ) -> Tensor:
        """[B·L, hidden] -> the same; `mask` is [L, L], added to the attention scores."""
        mixed = self.linear(rms_norm(x, self.attention_norm, self.eps), self.qkv) + self.qkv_bias
        query, key, value = ops.split(
            mixed, [self.query_size, self.group_size, self.group_size], axis=1
        )
        query = self.rotate(self.split_heads(query, batch, tokens, self.heads), cos, sin)
        key = self.rotate(self.split_heads(key, batch, tokens, self.groups), cos, sin)
        value = self.split_heads(value, batch, tokens, self.groups)
        per_group = self.heads // self.groups
        query = ops.reshape(
            query * self.scale, (batch, self.groups, per_group * tokens, self.head_dim)
        )
        scores = ops.reshape(
            self.scores(query, key), (batch, self.groups, per_group, tokens, tokens)
        )
        weights = ops.reshape(
            ops.softmax(scores + mask, -1), (batch, self.groups, per_group * tokens, tokens)
        )
        context = ops.reshape(self.mix(weights, value), (batch, self.heads, tokens, self.head_dim))
        context = ops.reshape(
            ops.transpose(context, (0, 2, 1, 3)), (batch * tokens, self.query_size)
        )
        x = x + self.linear(context, self.dense)
        gate, up = ops.split(
            self.linear(rms_norm(x, self.mlp_norm, self.eps), self.up), self.ffn, axis=1
        )
        return x + self.linear(gate * ops.sigmoid(gate) * up, self.down)


class Glm2(nn.Cell):  # type: ignore[misc]
    """ids int32 [B, L] -> logits float32 [B·L, V]."""

    def __init__(self, config: ModelConfig, weights: dict[str, NDArray[Any]]) -> None:
        super().__init__(auto_prefix=False)
        params = {
            name: Parameter(Tensor(value.astype(np.float32)), name=name)
            for name, value in weights.items()
        }
        self.embedding = params[EMBEDDING]
        self.layers = nn.CellList(
            [Layer(config, params, i) for i in range(config.num_layers)], auto_prefix=False
        )
        self.final_norm = params[FINAL_NORM]
        self.output = params[OUTPUT]
        self.hidden, self.eps = config.hidden_size, config.norm_eps
        cos, sin = rotary_tables(config.to_dict(), config.seq_length)
        self.cos, self.sin = Tensor(cos), Tensor(sin)
        future = np.triu(np.ones((config.seq_length, config.seq_length), np.float32), 1)
        self.mask = Tensor(future * _MASKED)
        self.linear = ops.MatMul(transpose_b=True)

    def construct(self, input_ids: Tensor) -> Tensor:
        """Run all layers."""
        batch, tokens = input_ids.shape
        x = ops.gather(self.embedding, ops.reshape(input_ids, (batch * tokens,)), 0)
        cos, sin = self.cos[:tokens], self.sin[:tokens]
        mask = self.mask[:tokens, :tokens]
        for layer in self.layers:
            x = layer(x, cos, sin, mask, batch, tokens)
        return self.linear(rms_norm(x, self.final_norm, self.eps), self.output)


def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy over the labels that are not negative.

    Args:
        logits: float32 [N, V].
        labels: int32 [N]; -1 marks a position that is not learned.
    """
    learned = ops.cast(labels >= 0, ms.float32)
    log_probs = ops.log_softmax(logits, -1)
    picked = ops.gather_elements(log_probs, 1, ops.reshape(ops.maximum(labels, 0), (-1, 1)))
    return -ops.sum(ops.reshape(picked, (-1,)) * learned) / ops.sum(learned)
