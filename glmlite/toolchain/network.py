"""The GLM network as MindSpore traces it: one source for every prefill, decode and score graph.

    construct(input_ids int32 [B,T], position int32 [B], valid_length int32 [B],
              past.0.key, past.0.value, … [B,groups,S,head_dim])
      -> (logits float32 [B,V] (score: [B,T,V]), present.0.key, present.0.value, …)

The formulation is the one that MindSpore 2.0 … 2.10 and MindSpore Lite 2.0.0 all compile and
compute alike. Three of its choices look odd and must stay:

- Sums over the hidden axis are products with a constant vector, and masks are made by `Select`:
  MindSpore 2.10 cannot compile `ReduceMean` or a bool `Cast` out of a MindIR of 2.0.
- RMSNorm divides by `Sqrt`; Lite 2.0.0's `Rsqrt` is a low-precision approximation.
- The cache is updated by mask arithmetic on explicit inputs and outputs: Lite's CPU kernels neither
  keep a Parameter's state nor scatter.

Shapes are static; B, T, S and the sizes are plain attributes, so that tracing sees constants.
"""

import math

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops


def rotary_tables(config, rows):
    """cos and sin of every position, float32 [rows, head_dim]; unrotated channels get 1 and 0.

    Angles are computed in float64: position * scale * base**(-2i/d), the same for both channels of
    a pair (RoFormer, arXiv 2104.09864; the pairs are adjacent as in the official GLM code).
    """
    rope, head_dim = config["rope"], config["head_dim"]
    rotary_dim = head_dim // 2
    scale = 1.0 / rope["ratio"] if rope["kind"] == "linear" else 1.0
    base = rope["base"] * (rope["ratio"] if rope["kind"] == "base" else 1.0)
    frequency = base ** (-np.arange(0, rotary_dim, 2, dtype=np.float64) / rotary_dim)
    angle = np.repeat(np.arange(rows, dtype=np.float64)[:, None] * scale * frequency, 2, axis=1)
    cos, sin = np.ones((rows, head_dim)), np.zeros((rows, head_dim))
    cos[:, :rotary_dim], sin[:, :rotary_dim] = np.cos(angle), np.sin(angle)
    return cos.astype(np.float32), sin.astype(np.float32)


def pair_rotation(head_dim):
    """float32 [head_dim, head_dim]; `x @ it` turns each rotated pair (a, b) into (-b, a)."""
    matrix = np.zeros((head_dim, head_dim), np.float32)
    for i in range(0, head_dim // 2, 2):
        matrix[i + 1, i] = -1.0
        matrix[i, i + 1] = 1.0
    return matrix


class RMSNorm(nn.Cell):
    """x / sqrt(mean(x²) + eps) · weight, in float32 (arXiv 1910.07467)."""

    def __init__(self, weight, eps, half):
        super().__init__(auto_prefix=False)
        self.weight = weight
        self.half = half
        self.eps = Tensor(np.array([eps], np.float32))
        size = weight.shape[0]
        self.averaging = Tensor(np.full((size, 1), 1.0 / size, np.float32))
        self.matmul = ops.MatMul()
        self.sqrt = ops.Sqrt()
        self.cast = ops.Cast()

    def construct(self, x):
        """[N, hidden] in the compute dtype -> the same."""
        weight = self.weight
        if self.half:
            x = self.cast(x, ms.float32)
            weight = self.cast(weight, ms.float32)
        x = x / self.sqrt(self.matmul(x * x, self.averaging) + self.eps) * weight
        if self.half:
            x = self.cast(x, ms.float16)
        return x


class Attention(nn.Cell):
    """Group-query attention over the whole cache (arXiv 2305.13245)."""

    def __init__(self, config, params, prefix, batch, tokens, cache_length, half):
        super().__init__(auto_prefix=False)
        self.qkv_weight = params[prefix + "self_attention.query_key_value.weight"]
        self.has_bias = config["qkv_bias"]
        if self.has_bias:
            self.qkv_bias = params[prefix + "self_attention.query_key_value.bias"]
        self.dense_weight = params[prefix + "self_attention.dense.weight"]
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
        self.linear = ops.MatMul(transpose_b=True)
        self.product = ops.BatchMatMul()
        self.product_bt = ops.BatchMatMul(transpose_b=True)
        self.product_at = ops.BatchMatMul(transpose_a=True)
        self.softmax = ops.Softmax(axis=-1)
        self.slice = ops.Slice()
        self.cast = ops.Cast()
        self.reshape = ops.Reshape()
        self.transpose = ops.Transpose()

    def rotate(self, x, heads, cos, sin):
        """Rotary embedding of [B, T, heads, head_dim]; cos and sin are [B, T, 1, head_dim]."""
        flat = self.reshape(x, (self.rows * heads, self.head_dim))
        turned = self.reshape(
            self.matmul(flat, self.rotation), (self.batch, self.tokens, heads, self.head_dim)
        )
        return x * cos + turned * sin

    def write(self, past, new, writes, keeps):
        """The cache [B, groups, S, head_dim] with the chunk's rows [B, T, groups, head_dim] in."""
        new = self.reshape(new, (self.batch, self.tokens, self.group_size))
        placed = self.product_at(writes, new)
        placed = self.reshape(placed, (self.batch, self.cache_length, self.groups, self.head_dim))
        return past * keeps + self.transpose(placed, (0, 2, 1, 3))

    def construct(self, x, past_key, past_value, cos, sin, writes, keeps, bias):
        """[B·T, hidden] -> the same, and this layer's new cache."""
        mixed = self.linear(x, self.qkv_weight)
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
        return self.linear(context, self.dense_weight), keys, values


class Layer(nn.Cell):
    """One pre-norm block: attention, then the gated MLP (SwiGLU, arXiv 2002.05202)."""

    def __init__(self, config, params, prefix, batch, tokens, cache_length, half):
        super().__init__(auto_prefix=False)
        eps = config["norm_eps"]
        self.input_norm = RMSNorm(params[prefix + "input_layernorm.weight"], eps, half)
        self.attention = Attention(config, params, prefix, batch, tokens, cache_length, half)
        self.post_norm = RMSNorm(params[prefix + "post_attention_layernorm.weight"], eps, half)
        self.up_weight = params[prefix + "mlp.dense_h_to_4h.weight"]
        self.down_weight = params[prefix + "mlp.dense_4h_to_h.weight"]
        self.rows, self.ffn = batch * tokens, config["ffn_hidden_size"]
        self.linear = ops.MatMul(transpose_b=True)
        self.sigmoid = ops.Sigmoid()
        self.slice = ops.Slice()

    def construct(self, x, past_key, past_value, cos, sin, writes, keeps, bias):
        """[B·T, hidden] -> the same, and this layer's new cache."""
        attended, keys, values = self.attention(
            self.input_norm(x), past_key, past_value, cos, sin, writes, keeps, bias
        )
        x = x + attended
        mixed = self.linear(self.post_norm(x), self.up_weight)
        gate = self.slice(mixed, (0, 0), (self.rows, self.ffn))
        up = self.slice(mixed, (0, self.ffn), (self.rows, self.ffn))
        return x + self.linear(gate * self.sigmoid(gate) * up, self.down_weight), keys, values


class Network(nn.Cell):
    """A whole GLM at fixed B, T and S.

    Args:
        config: the model configuration as plain data (`ModelConfig.to_dict()`).
        params: Hugging Face parameter name -> Parameter of that name, float32 or float16.
        batch: B. tokens: T. cache_length: S.
        prefix_length: P, cache slots before the first token.
        score: whether logits of every row are wanted instead of the last valid one's.
        half: whether weights, cache and matrix products are float16.
    """

    def __init__(
        self, config, params, batch, tokens, cache_length, prefix_length=0, score=False, half=False
    ):
        super().__init__(auto_prefix=False)
        if prefix_length >= cache_length:
            raise ValueError("the prefix fills the whole cache")
        self.num_layers = config["num_layers"]
        self.batch, self.tokens, self.cache_length = batch, tokens, cache_length
        self.hidden, self.head_dim = config["hidden_size"], config["head_dim"]
        self.vocab = config["vocab_size"]
        self.score, self.half = score, half
        self.embedding = params["transformer.embedding.word_embeddings.weight"]
        self.layers = nn.CellList(
            [
                Layer(
                    config, params, "transformer.encoder.layers.%d." % i,
                    batch, tokens, cache_length, half,
                )
                for i in range(self.num_layers)
            ],
            auto_prefix=False,
        )  # fmt: skip
        self.final_norm = RMSNorm(
            params["transformer.encoder.final_layernorm.weight"], config["norm_eps"], half
        )
        self.output_weight = params["transformer.output_layer.weight"]

        dtype = np.float16 if half else np.float32
        # A chunk's padding rows may lie behind the last slot, never behind the table.
        cos, sin = rotary_tables(config, cache_length + tokens)
        self.cos, self.sin = Tensor(cos.astype(dtype)), Tensor(sin.astype(dtype))
        self.row = Tensor(np.arange(tokens, dtype=np.int32).reshape(1, tokens))
        self.row_column = Tensor(np.arange(tokens, dtype=np.int32).reshape(1, tokens, 1))
        self.slot = Tensor(np.arange(cache_length, dtype=np.int32).reshape(1, 1, cache_length))
        self.prefix = Tensor(np.array([prefix_length], np.int32))
        self.one = Tensor(np.array([1], np.int32))
        # Masks are [B,T,S]; their two values are spread at run time, so that no file holds them.
        self.spread = Tensor(np.zeros((batch, tokens, 1), dtype))
        self.spread_bias = Tensor(np.zeros((batch, tokens, 1), np.float32))
        self.ones = Tensor(np.ones((1, 1, cache_length), dtype))
        self.zeros = Tensor(np.zeros((1, 1, cache_length), dtype))
        self.visible = Tensor(np.zeros((1, 1, cache_length), np.float32))
        self.masked = Tensor(np.full((1, 1, cache_length), -1e9, np.float32))
        self.summing = Tensor(np.ones((batch, tokens, 1), dtype))
        self.one_row = Tensor(np.ones((batch, tokens), dtype))
        self.no_row = Tensor(np.zeros((batch, tokens), dtype))
        self.unit = Tensor(np.ones((1,), dtype))

        self.gather, self.select, self.equal = ops.Gather(), ops.Select(), ops.Equal()
        self.less, self.less_equal = ops.Less(), ops.LessEqual()
        self.logical_and = ops.LogicalAnd()
        self.linear = ops.MatMul(transpose_b=True)
        self.product = ops.BatchMatMul()
        self.product_at = ops.BatchMatMul(transpose_a=True)
        self.reshape, self.cast = ops.Reshape(), ops.Cast()

    def masks(self, position, valid_length):
        """Where the chunk is written, what of the cache stays, and what each row attends to.

        Returns:
            writes [B,T,S] (1 where row t goes to slot s), keeps [B,1,S,1], bias float32 [B,1,T,S].
        """
        slots = self.reshape(
            self.reshape(position, (self.batch, 1)) + self.row + self.prefix,
            (self.batch, self.tokens, 1),
        )
        valid = self.less(self.row_column, self.reshape(valid_length, (self.batch, 1, 1)))
        writes = self.select(
            self.logical_and(self.equal(self.slot, slots), valid),
            self.ones + self.spread,
            self.zeros + self.spread,
        )
        keeps = self.unit - self.product_at(writes, self.summing)
        bias = self.select(
            self.less_equal(self.slot, slots),
            self.visible + self.spread_bias,
            self.masked + self.spread_bias,
        )
        keeps = self.reshape(keeps, (self.batch, 1, self.cache_length, 1))
        return (
            writes,
            keeps,
            self.reshape(bias, (self.batch, 1, self.tokens, self.cache_length)),
        )

    def construct(self, input_ids, position, valid_length, *past):
        """See the module's head."""
        writes, keeps, bias = self.masks(position, valid_length)
        positions = self.reshape(position, (self.batch, 1)) + self.row
        shape = (self.batch, self.tokens, 1, self.head_dim)
        cos = self.reshape(self.gather(self.cos, positions, 0), shape)
        sin = self.reshape(self.gather(self.sin, positions, 0), shape)

        x = self.gather(self.embedding, input_ids, 0)
        x = self.reshape(x, (self.batch * self.tokens, self.hidden))
        present = ()
        for i in range(self.num_layers):
            x, keys, values = self.layers[i](
                x, past[2 * i], past[2 * i + 1], cos, sin, writes, keeps, bias
            )
            present = present + (keys, values)

        if not self.score:
            last = self.select(
                self.equal(self.row, self.reshape(valid_length, (self.batch, 1)) - self.one),
                self.one_row,
                self.no_row,
            )
            last = self.reshape(last, (self.batch, 1, self.tokens))
            x = self.product(last, self.reshape(x, (self.batch, self.tokens, self.hidden)))
            x = self.reshape(x, (self.batch, self.hidden))
        logits = self.linear(self.final_norm(x), self.output_weight)
        if self.half:
            logits = self.cast(logits, ms.float32)
        if self.score:
            logits = self.reshape(logits, (self.batch, self.tokens, self.vocab))
        return (logits,) + present


def make_parameters(arrays):
    """Hugging Face name -> Parameter of that name, sharing the arrays' memory where possible."""
    return {
        name: Parameter(Tensor.from_numpy(array), name=name, requires_grad=False)
        for name, array in arrays.items()
    }


def example_inputs(config, batch, tokens, cache_length, half):
    """Zero-valued inputs of the right shapes and dtypes, for tracing."""
    cache = Tensor(
        np.zeros(
            (batch, config["num_groups"], cache_length, config["head_dim"]),
            np.float16 if half else np.float32,
        )
    )
    ids = Tensor(np.zeros((batch, tokens), np.int32))
    row = Tensor(np.zeros((batch,), np.int32))
    return (ids, row, row) + (cache,) * (2 * config["num_layers"])
