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


def product_flops(step: Step, matrix_values: int, head_values: int) -> int:
    """Multiplications and additions with weights: two a weight and row.

    The output layer is computed for one row of a chunk only.

    Args:
        step: the call.
        matrix_values: values of all matrices.
        head_values: of the output layer among them.
    """
    rows = step.batch * step.tokens
    return 2 * (matrix_values - head_values) * rows + 2 * head_values * step.batch


def attention_flops(config: ModelConfig, step: Step) -> int:
    """Multiplications and additions of attention's two products over the whole cache.

    Args:
        config: the network.
        step: the call.
    """
    rows = step.batch * step.tokens
    return 4 * config.num_layers * config.query_size * rows * step.cache_length


def activation_values(config: ModelConfig, step: Step) -> int:
    """Values that all layers compute for a step's rows, attention's scores left out.

    The residual stream and its norm, the attention's projections, the MLP's two halves and their
    product.

    Args:
        config: the network.
        step: the call.
    """
    return config.num_layers * step.batch * step.tokens * _row_values(config)


def _row_values(config: ModelConfig) -> int:
    own = 2 * config.hidden_size + config.qkv_size + config.query_size
    return own + 3 * config.ffn_hidden_size


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
    layer = rows * _row_values(config)
    scores = 2 * 4 * rows * config.num_heads * step.cache_length
    masks = 3 * 4 * rows * step.cache_length
    updated = 2 * 2 * config.group_size * step.batch * step.cache_length
    logits = 4 * config.vocab_size * (rows if score else step.batch)
    return size * (layer + updated) + scores + masks + logits
