"""A GLM whose cache lies in the graph, with the signature of MindFormers 0.8–1.0's exports.

    construct(input_ids int32 [B,T], input_position int32 [B,1], init_reset bool [1],
              batch_valid_length int32 [B,1]) -> logits [B,V]

Written for the tests after the description of that signature: keys and values are Parameters that
the graph assigns. The prefill graph (T = S) writes every row's valid prompt over them, whatever was
there; the decode graph (T = 1) multiplies them by init_reset and *adds* the new token's at its
slot, so a slot that was written before is not overwritten but ruined.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from glmlite.model.config import ModelConfig
from glmlite.toolchain.mindspore_backend import set_cpu


class InGraphGlm(nn.Cell):
    """The network at fixed B, T and S; standard rotary embedding only."""

    def __init__(
        self, config: ModelConfig, weights: Any, batch: int, tokens: int, seq_length: int
    ) -> None:
        super().__init__(auto_prefix=False)
        self.config, self.batch, self.tokens, self.length = config, batch, tokens, seq_length
        self.names = {name: f"w{i}" for i, name in enumerate(weights.shapes())}
        for name, attribute in self.names.items():
            value = Tensor(np.asarray(weights.read(name), np.float32))
            setattr(self, attribute, Parameter(value, name=name, requires_grad=False))
        shape = (batch, config.num_groups, seq_length, config.head_dim)
        for layer in range(config.num_layers):
            for kind in ("key", "value"):
                name = f"layers.{layer}.{kind}_past"
                cache = Parameter(Tensor(np.zeros(shape, np.float32)), name=name)
                setattr(self, f"{kind}_past{layer}", cache)
        half = config.head_dim // 2
        frequency = 10000.0 ** (-np.arange(0, half, 2) / half)
        angle = np.arange(seq_length)[:, None] * frequency
        self.cos = Tensor(np.cos(angle).astype(np.float32))
        self.sin = Tensor(np.sin(angle).astype(np.float32))
        self.slots = Tensor(np.arange(seq_length, dtype=np.int32))
        self.rows = Tensor(np.arange(batch, dtype=np.int32) * seq_length)
        self.assign = ops.Assign()

    def norm(self, x: Tensor, weight: Tensor) -> Tensor:
        mean = ops.ReduceMean(keep_dims=True)(x * x, -1)
        return x / ops.sqrt(mean + self.config.norm_eps) * weight

    def rotate(self, x: Tensor, heads: int, cos: Tensor, sin: Tensor) -> Tensor:
        """[B, heads, T, head_dim]; adjacent pairs of the first half of the channels."""
        half = self.config.head_dim // 2
        turned, rest = x[..., :half], x[..., half:]
        pairs = ops.reshape(turned, (self.batch, heads, self.tokens, half // 2, 2))
        even, odd = pairs[..., 0], pairs[..., 1]
        first, second = even * cos - odd * sin, odd * cos + even * sin
        turned = ops.reshape(ops.stack((first, second), -1), (self.batch, heads, self.tokens, half))
        return ops.concat((turned, rest), -1)

    def attend(
        self,
        x: Tensor,
        qkv: Tensor,
        bias: Tensor,
        dense: Tensor,
        key_past: Parameter,
        value_past: Parameter,
        shared: tuple[Tensor, ...],
    ) -> Tensor:
        cos, sin, keep, written, visible = shared
        config = self.config
        heads, groups, size = config.num_heads, config.num_groups, config.head_dim
        mixed = ops.matmul(x, qkv.T) + bias
        query = mixed[..., : heads * size]
        key = mixed[..., heads * size : (heads + groups) * size]
        value = mixed[..., (heads + groups) * size :]
        query = ops.reshape(query, (self.batch, self.tokens, heads, size)).transpose(0, 2, 1, 3)
        key = ops.reshape(key, (self.batch, self.tokens, groups, size)).transpose(0, 2, 1, 3)
        value = ops.reshape(value, (self.batch, self.tokens, groups, size)).transpose(0, 2, 1, 3)
        query, key = self.rotate(query, heads, cos, sin), self.rotate(key, groups, cos, sin)
        if self.tokens == self.length:
            keys, values = key * written, value * written
        else:
            keys = key_past * keep + key * written
            values = value_past * keep + value * written
        self.assign(key_past, keys)
        self.assign(value_past, values)
        keys = ops.repeat_interleave(keys, heads // groups, 1)
        values = ops.repeat_interleave(values, heads // groups, 1)
        scores = ops.matmul(query, keys.transpose(0, 1, 3, 2)) / size**0.5
        weights = ops.softmax(ops.masked_fill(scores, ops.logical_not(visible), -1e9), -1)
        context = ops.matmul(weights, values).transpose(0, 2, 1, 3)
        return ops.matmul(ops.reshape(context, (self.batch, self.tokens, heads * size)), dense.T)

    def shared(
        self, input_position: Tensor, init_reset: Tensor, batch_valid_length: Tensor
    ) -> tuple[Tensor, ...]:
        """What every layer needs: rotation, what stays, what is written, what is seen."""
        length = ops.reshape(batch_valid_length, (self.batch, 1, 1, 1))
        slots = ops.reshape(self.slots, (1, 1, 1, self.length))
        column = ops.reshape(self.slots, (1, 1, self.length, 1))
        keep = init_reset.astype(ms.float32)
        if self.tokens == self.length:
            visible = ops.logical_and(slots <= column, slots < length)
            return self.cos, self.sin, keep, (column < length).astype(ms.float32), visible
        # Flat over the rows of a batch, as MindFormers hands it in.
        position = ops.reshape(input_position, (self.batch,)) - self.rows
        shape = (self.batch, 1, 1, self.config.head_dim // 4)
        cos = ops.reshape(ops.gather(self.cos, position, 0), shape)
        sin = ops.reshape(ops.gather(self.sin, position, 0), shape)
        written = ops.equal(column, length - 1).astype(ms.float32)
        return cos, sin, keep, written, slots < length

    def construct(
        self,
        input_ids: Tensor,
        input_position: Tensor,
        init_reset: Tensor,
        batch_valid_length: Tensor,
    ) -> Tensor:
        config = self.config
        shared = self.shared(input_position, init_reset, batch_valid_length)
        x = ops.gather(self.weight("transformer.embedding.word_embeddings.weight"), input_ids, 0)
        for layer in range(config.num_layers):
            at = f"transformer.encoder.layers.{layer}."
            x = x + self.attend(
                self.norm(x, self.weight(at + "input_layernorm.weight")),
                self.weight(at + "self_attention.query_key_value.weight"),
                self.weight(at + "self_attention.query_key_value.bias"),
                self.weight(at + "self_attention.dense.weight"),
                getattr(self, f"key_past{layer}"),
                getattr(self, f"value_past{layer}"),
                shared,
            )
            mixed = self.norm(x, self.weight(at + "post_attention_layernorm.weight"))
            mixed = ops.matmul(mixed, self.weight(at + "mlp.dense_h_to_4h.weight").T)
            gate, up = mixed[..., : config.ffn_hidden_size], mixed[..., config.ffn_hidden_size :]
            down = self.weight(at + "mlp.dense_4h_to_h.weight")
            x = x + ops.matmul(gate * ops.sigmoid(gate) * up, down.T)
        x = self.norm(x, self.weight("transformer.encoder.final_layernorm.weight"))
        x = ops.reshape(x, (self.batch * self.tokens, config.hidden_size))
        if self.tokens == self.length:
            x = ops.gather(x, ops.reshape(input_position, (self.batch,)), 0)
        return ops.matmul(x, self.weight("transformer.output_layer.weight").T)

    def weight(self, name: str) -> Parameter:
        return getattr(self, self.names[name])


def export_pair(
    config: ModelConfig, weights: Any, folder: Path, *, batch: int = 1, seq_length: int = 48
) -> tuple[Path, Path]:
    """Write `prefill.mindir` and `inc.mindir` the way MindFormers' export.py does."""
    set_cpu(ms)
    paths = []
    for name, tokens in (("prefill", seq_length), ("inc", 1)):
        net = InGraphGlm(config, weights, batch, tokens, seq_length)
        inputs = (
            Tensor(np.ones((batch, tokens), np.int32)),
            Tensor(np.ones((batch, 1), np.int32)),
            Tensor(np.array([tokens == 1])),
            Tensor(np.ones((batch, 1), np.int32)),
        )
        path = folder / f"{name}.mindir"
        ms.export(net, *inputs, file_name=str(path), file_format="MINDIR")
        path.chmod(0o644)
        paths.append(path)
    return paths[0], paths[1]
