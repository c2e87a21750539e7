"""What one step moves and computes: pure arithmetic on the sizes of a model and a graph."""

from __future__ import annotations

import dataclasses

from glmlite.model.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class Step:
    """One call of a graph.

    Attributes:
        batch: B. tokens: T. cache_length: S; a static graph attends to all of it.
    """

    batch: int
    tokens: int
    cache_length: int


def cache_values(config: ModelConfig, batch: int, cache_length: int) -> int:
    """Keys and values of all layers: 2 · layers · B · groups · S · head_dim."""
    return 2 * config.num_layers * batch * config.group_size * cache_length


def cache_traffic(config: ModelConfig, step: Step, size: int, in_place: bool) -> int:
    """Bytes of the cache that a step moves.

    Mask arithmetic reads the old cache, writes the new one, and attention reads that: three times
    its bytes. A cache that is updated in place is read once.

    Args:
        config: the network.
        step: the call.
        size: bytes of one value.
        in_place: whether the engine appends to the cache instead.
    """
    times = 1 if in_place else 3
    return times * size * cache_values(config, step.batch, step.cache_length)


def step_flops(config: ModelConfig, step: Step, matrix_values: int, head_values: int) -> int:
    """Multiplications and additions: two a weight and row, and attention over the whole cache.

    The output layer is computed for one row of a chunk only.

    Args:
        config: the network.
        step: the call.
        matrix_values: values of all matrices.
        head_values: of the output layer among them.
    """
    rows = step.batch * step.tokens
    dense = 2 * (matrix_values - head_values) * rows + 2 * head_values * step.batch
    attention = 4 * config.num_layers * config.query_size * rows * step.cache_length
    return dense + attention


def workspace(config: ModelConfig, step: Step, size: int, score: bool) -> int:
    """Bytes of what a step computes on the way, where each layer reuses the memory of the last.

    The residual stream and its norm, the attention's projections, scores and softmax in float32,
    the three masks, the MLP's two halves and their product, the logits.

    Args:
        config: the network.
        step: the call.
        size: bytes of one value of the activations.
        score: whether logits of every row are kept.
    """
    rows = step.batch * step.tokens
    hidden = rows * (2 * config.hidden_size + config.qkv_size + config.query_size)
    mlp = rows * 3 * config.ffn_hidden_size
    scores = 2 * 4 * rows * config.num_heads * step.cache_length
    masks = 3 * 4 * rows * step.cache_length
    updated = 2 * 2 * config.group_size * step.batch * step.cache_length
    logits = 4 * config.vocab_size * (rows if score else step.batch)
    return size * (hidden + mlp + updated) + scores + masks + logits
