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

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from .layers import Layer, Linear, RMSNorm
from .rotary import pair_rotation, rotary_tables

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Network", "example_inputs", "pair_rotation", "rotary_tables"]


class Network(nn.Cell):
    """A whole GLM at fixed B, T and S.

    Args:
        config: the model configuration as plain data (`ModelConfig.to_dict()`).
        params: Hugging Face parameter name -> Parameter of that name, float32 or float16; quantized
            ones as `Linear` takes them.
        batch: B.
        tokens: T.
        cache_length: S.
        prefix_length: P, cache slots before the first token.
        score: whether logits of every row are wanted instead of the last valid one's.
        half: whether weights, cache and matrix products are float16.

    Raises:
        ValueError: the prefix leaves no slot.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        params: Mapping[str, Parameter],
        batch: int,
        tokens: int,
        cache_length: int,
        prefix_length: int = 0,
        score: bool = False,
        half: bool = False,
    ) -> None:
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
        self.output = Linear(params, "transformer.output_layer.weight")

        dtype = np.float16 if half else np.float32
        # A chunk's padding rows may lie behind the last slot, never behind the table.
        cos, sin = rotary_tables(config, cache_length + tokens)
        self.cos, self.sin = Tensor(cos.astype(dtype)), Tensor(sin.astype(dtype))
        self.row = Tensor(np.arange(tokens, dtype=np.int32).reshape(1, tokens))
        self.row_column = Tensor(np.arange(tokens, dtype=np.int32).reshape(1, tokens, 1))
        self.slot = Tensor(np.arange(cache_length, dtype=np.int32).reshape(1, 1, cache_length))
        self.prefix = Tensor(np.array([prefix_length], np.int32))
        self.one = Tensor(np.array([1], np.int32))
        # Masks are [B,T,S]. Made of constants alone they would be folded into the file, so their
        # values are added to zeros that are looked up by position.
        self.no_value = Tensor(np.zeros(cache_length + tokens, dtype))
        self.no_bias = Tensor(np.zeros(cache_length + tokens, np.float32))
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
        self.product = ops.BatchMatMul()
        self.product_at = ops.BatchMatMul(transpose_a=True)
        self.reshape, self.cast = ops.Reshape(), ops.Cast()

    def masks(self, positions: Tensor, valid_length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where the chunk is written, what of the cache stays, and what each row attends to.

        Args:
            positions: int32 [B,T], of each row of the chunk.
            valid_length: int32 [B].

        Returns:
            writes [B,T,S] (1 where row t goes to slot s), keeps [B,1,S,1], bias float32 [B,1,T,S].
        """
        column = (self.batch, self.tokens, 1)
        slots = self.reshape(positions + self.prefix, column)
        no_value = self.reshape(self.gather(self.no_value, positions, 0), column)
        no_bias = self.reshape(self.gather(self.no_bias, positions, 0), column)
        valid = self.less(self.row_column, self.reshape(valid_length, (self.batch, 1, 1)))
        writes = self.select(
            self.logical_and(self.equal(self.slot, slots), valid),
            self.ones + no_value,
            self.zeros + no_value,
        )
        keeps = self.unit - self.product_at(writes, self.summing)
        bias = self.select(
            self.less_equal(self.slot, slots),
            self.visible + no_bias,
            self.masked + no_bias,
        )
        keeps = self.reshape(keeps, (self.batch, 1, self.cache_length, 1))
        return (
            writes,
            keeps,
            self.reshape(bias, (self.batch, 1, self.tokens, self.cache_length)),
        )

    def construct(
        self, input_ids: Tensor, position: Tensor, valid_length: Tensor, *past: Tensor
    ) -> tuple[Tensor, ...]:
        """See the module's head."""
        positions = self.reshape(position, (self.batch, 1)) + self.row
        writes, keeps, bias = self.masks(positions, valid_length)
        shape = (self.batch, self.tokens, 1, self.head_dim)
        cos = self.reshape(self.gather(self.cos, positions, 0), shape)
        sin = self.reshape(self.gather(self.sin, positions, 0), shape)

        x = self.gather(self.embedding, input_ids, 0)
        x = self.reshape(x, (self.batch * self.tokens, self.hidden))
        # A type comment, for MindSpore 2.0 does not parse annotated assignments.
        present = ()  # type: tuple[Tensor, ...]
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
        logits = self.output(self.final_norm(x))
        if self.half:
            logits = self.cast(logits, ms.float32)
        if self.score:
            logits = self.reshape(logits, (self.batch, self.tokens, self.vocab))
        return (logits,) + present


def example_inputs(
    config: Mapping[str, Any], batch: int, tokens: int, cache_length: int, half: bool
) -> tuple[Tensor, ...]:
    """Zero-valued inputs of the right shapes and dtypes, for tracing."""
    num_layers: int = config["num_layers"]
    cache = Tensor(
        np.zeros(
            (batch, config["num_groups"], cache_length, config["head_dim"]),
            np.float16 if half else np.float32,
        )
    )
    ids = Tensor(np.zeros((batch, tokens), np.int32))
    row = Tensor(np.zeros((batch,), np.int32))
    return (ids, row, row) + (cache,) * (2 * num_layers)
