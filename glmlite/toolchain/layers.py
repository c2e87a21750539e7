"""The cells that a GLM is made of, as MindSpore traces them; see `network.py` for the rules."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from .quantized import SCALE, ZERO_POINT
from .rotary import pair_rotation

if TYPE_CHECKING:
    from collections.abc import Mapping


class RMSNorm(nn.Cell):
    """x / sqrt(mean(x²) + eps) · weight, in float32 (arXiv 1910.07467).

    Args:
        weight: [hidden].
        eps: added under the root.
        half: whether the compute dtype is float16.
    """

    def __init__(self, weight: Parameter, eps: float, half: bool) -> None:
        super().__init__(auto_prefix=False)
        self.weight = weight
        self.half = half
        self.eps = Tensor(np.array([eps], np.float32))
        size = weight.shape[0]
        self.averaging = Tensor(np.full((size, 1), 1.0 / size, np.float32))
        self.matmul = ops.MatMul()
        self.sqrt = ops.Sqrt()
        self.cast = ops.Cast()

    def construct(self, x: Tensor) -> Tensor:
        """[N, hidden] in the compute dtype -> the same."""
        weight = self.weight
        if self.half:
            x = self.cast(x, ms.float32)
            weight = self.cast(weight, ms.float32)
        x = x / self.sqrt(self.matmul(x * x, self.averaging) + self.eps) * weight
        if self.half:
            x = self.cast(x, ms.float16)
        return x


class Linear(nn.Cell):
    """y = x · weightᵀ, with a weight that is float or quantized to 8 bits for each output channel.

    (q + zero_point) · scale is multiplied out, so that no dequantized copy of the weight exists:
    y = (x · qᵀ + rowsum(x) · zero_point) · scale. Only float32 graphs: sums of integers leave
    float16's range.

    Args:
        params: of `Network`.
        name: of the weight [out, in]; int8 or uint8 where `name.scale` exists as well.
    """

    def __init__(self, params: Mapping[str, Parameter], name: str) -> None:
        super().__init__(auto_prefix=False)
        self.weight = params[name]
        self.quantized = name + SCALE in params
        self.matmul = ops.MatMul(transpose_b=True)
        if self.quantized:
            self.scale = params[name + SCALE]
            self.zero_point = params[name + ZERO_POINT]
            self.summing = Tensor(np.ones((1, self.weight.shape[1]), np.float32))
            self.cast = ops.Cast()

    def construct(self, x: Tensor) -> Tensor:
        """[N, in] -> [N, out]."""
        if self.quantized:
            product = self.matmul(x, self.cast(self.weight, ms.float32))
            return (product + self.matmul(x, self.summing) * self.zero_point) * self.scale
        return self.matmul(x, self.weight)


class Attention(nn.Cell):
    """Group-query attention over the whole cache (arXiv 2305.13245).

    Args:
        config: as of `Network`, and so are all but `prefix`.
        prefix: of the layer's parameter names.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        params: Mapping[str, Parameter],
        prefix: str,
        batch: int,
        tokens: int,
        cache_length: int,
        half: bool,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.qkv = Linear(params, prefix + "self_attention.query_key_value.weight")
        self.has_bias = config["qkv_bias"]
        if self.has_bias:
            self.qkv_bias = params[prefix + "self_attention.query_key_value.bias"]
        self.dense = Linear(params, prefix + "self_attention.dense.weight")
        self.batch, self.tokens, self.cache_length = batch, tokens, cache_length
        self.heads, self.groups = config["num_heads"], config["num_groups"]
        self.head_dim = config["head_dim"]
        self.query_size = self.heads * self.head_dim
        self.group_size = self.groups * self.head_dim
        self.rows = batch * tokens
        self.group_rows = self.heads // self.groups * tokens
        self.half = half
        dtype = np.float16 if half else np.float32
        self.scale = Tensor(np.array([1.0 / math.sqrt(self.head_dim)], dtype))
        self.rotation = Tensor(pair_rotation(self.head_dim).astype(dtype))
        self.matmul = ops.MatMul()
        self.product = ops.BatchMatMul()
        self.product_bt = ops.BatchMatMul(transpose_b=True)
        self.product_at = ops.BatchMatMul(transpose_a=True)
        self.softmax = ops.Softmax(axis=-1)
        self.slice = ops.Slice()
        self.cast = ops.Cast()
        self.reshape = ops.Reshape()
        self.transpose = ops.Transpose()

    def rotate(self, x: Tensor, heads: int, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotary embedding of [B, T, heads, head_dim]; cos and sin are [B, T, 1, head_dim]."""
        flat = self.reshape(x, (self.rows * heads, self.head_dim))
        turned = self.reshape(
            self.matmul(flat, self.rotation), (self.batch, self.tokens, heads, self.head_dim)
        )
        return x * cos + turned * sin

    def write(self, past: Tensor, new: Tensor, writes: Tensor, keeps: Tensor) -> Tensor:
        """The cache [B, groups, S, head_dim] with the chunk's rows [B, T, groups, head_dim] in."""
        new = self.reshape(new, (self.batch, self.tokens, self.group_size))
        placed = self.product_at(writes, new)
        placed = self.reshape(placed, (self.batch, self.cache_length, self.groups, self.head_dim))
        return past * keeps + self.transpose(placed, (0, 2, 1, 3))

    def construct(
        self,
        x: Tensor,
        past_key: Tensor,
        past_value: Tensor,
        cos: Tensor,
        sin: Tensor,
        writes: Tensor,
        keeps: Tensor,
        bias: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """[B·T, hidden] -> the same, and this layer's new cache."""
        mixed = self.qkv(x)
        if self.has_bias:
            mixed = mixed + self.qkv_bias
        query = self.slice(mixed, (0, 0), (self.rows, self.query_size))
        key = self.slice(mixed, (0, self.query_size), (self.rows, self.group_size))
        value = self.slice(
            mixed, (0, self.query_size + self.group_size), (self.rows, self.group_size)
        )
        shape = (self.batch, self.tokens, self.heads, self.head_dim)
        query = self.rotate(self.reshape(query, shape), self.heads, cos, sin) * self.scale
        shape = (self.batch, self.tokens, self.groups, self.head_dim)
        key = self.rotate(self.reshape(key, shape), self.groups, cos, sin)
        keys = self.write(past_key, key, writes, keeps)
        values = self.write(past_value, value, writes, keeps)

        query = self.reshape(
            self.transpose(query, (0, 2, 1, 3)),
            (self.batch, self.groups, self.group_rows, self.head_dim),
        )
        scores = self.product_bt(query, keys)
        if self.half:
            scores = self.cast(scores, ms.float32)
        scores = self.reshape(scores, (self.batch, self.heads, self.tokens, self.cache_length))
        weights = self.softmax(scores + bias)
        if self.half:
            weights = self.cast(weights, ms.float16)
        weights = self.reshape(
            weights, (self.batch, self.groups, self.group_rows, self.cache_length)
        )
        context = self.reshape(
            self.product(weights, values), (self.batch, self.heads, self.tokens, self.head_dim)
        )
        context = self.reshape(self.transpose(context, (0, 2, 1, 3)), (self.rows, self.query_size))
        return self.dense(context), keys, values


class Layer(nn.Cell):
    """One pre-norm block: attention, then the gated MLP (SwiGLU, arXiv 2002.05202).

    Args:
        config: as of `Network`, and so are all but `prefix`.
        prefix: of the layer's parameter names.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        params: Mapping[str, Parameter],
        prefix: str,
        batch: int,
        tokens: int,
        cache_length: int,
        half: bool,
    ) -> None:
        super().__init__(auto_prefix=False)
        eps = config["norm_eps"]
        self.input_norm = RMSNorm(params[prefix + "input_layernorm.weight"], eps, half)
        self.attention = Attention(config, params, prefix, batch, tokens, cache_length, half)
        self.post_norm = RMSNorm(params[prefix + "post_attention_layernorm.weight"], eps, half)
        self.up = Linear(params, prefix + "mlp.dense_h_to_4h.weight")
        self.down = Linear(params, prefix + "mlp.dense_4h_to_h.weight")
        self.rows, self.ffn = batch * tokens, config["ffn_hidden_size"]
        self.sigmoid = ops.Sigmoid()
        self.slice = ops.Slice()

    def construct(
        self,
        x: Tensor,
        past_key: Tensor,
        past_value: Tensor,
        cos: Tensor,
        sin: Tensor,
        writes: Tensor,
        keeps: Tensor,
        bias: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """[B·T, hidden] -> the same, and this layer's new cache."""
        attended, keys, values = self.attention(
            self.input_norm(x), past_key, past_value, cos, sin, writes, keeps, bias
        )
        x = x + attended
        mixed = self.up(self.post_norm(x))
        gate = self.slice(mixed, (0, 0), (self.rows, self.ffn))
        up = self.slice(mixed, (0, self.ffn), (self.rows, self.ffn))
        return x + self.down(gate * self.sigmoid(gate) * up), keys, values
