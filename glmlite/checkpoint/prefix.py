"""P-Tuning v2: a trained prefix is a ready-made key-value cache.

Source: `PrefixEncoder` and `get_prompt` of the official `modeling_chatglm.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glmlite.checkpoint.folder import Checkpoint, open_checkpoint
from glmlite.checkpoint.source import WeightSource
from glmlite.errors import CheckpointError, ConfigError
from glmlite.model.config import ModelConfig

PREFIX_EMBEDDING = "transformer.prefix_encoder.embedding.weight"
_PREFIX_PROJECTION = "transformer.prefix_encoder.trans."

Prefix = list[tuple[NDArray[np.float32], NDArray[np.float32]]]


def read_prefix(source: str | Path | Checkpoint | WeightSource, config: ModelConfig) -> Prefix:
    """The cache that a P-Tuning v2 adapter puts before every sequence.

    Args:
        source: the adapter's folder or file, or tensors that are already open.
        config: sizes of the model that the prefix was trained for.

    Returns:
        Per layer the keys and values, float32 [groups, P, head_dim]. Keys get no rotary embedding.

    Raises:
        CheckpointError: the file is damaged or fits another model.
        ConfigError: an adapter of another kind, which glmlite does not read yet.
    """
    if isinstance(source, (str, Path)):
        if (Path(source) / "adapter_config.json").exists():
            raise _not_yet("adapter_config.json")
        tensors: WeightSource = open_checkpoint(source)
    else:
        tensors = source
    shapes = tensors.shapes()
    projected = any(name.startswith(_PREFIX_PROJECTION) for name in shapes)
    if PREFIX_EMBEDDING not in shapes or projected:
        raise _not_yet(", ".join(sorted(shapes)[:3]))
    shape = shapes[PREFIX_EMBEDDING]
    width = 2 * config.num_layers * config.group_size
    if len(shape) != 2 or shape[1] != width:
        raise CheckpointError(
            "The prefix {name} is {found}; this model needs [length, {width}] "
            "(2 × {layers} layers × {groups} groups × {head_dim}).",
            name=PREFIX_EMBEDDING,
            found=list(shape),
            width=width,
            layers=config.num_layers,
            groups=config.num_groups,
            head_dim=config.head_dim,
        )
    table = tensors.read(PREFIX_EMBEDDING).astype(np.float32)
    table = table.reshape(shape[0], 2 * config.num_layers, config.num_groups, config.head_dim)
    per_slot = np.ascontiguousarray(table.transpose(1, 2, 0, 3))  # [2·layers, groups, P, head_dim]
    return [(per_slot[2 * i], per_slot[2 * i + 1]) for i in range(config.num_layers)]


def _not_yet(found: str) -> ConfigError:
    return ConfigError(
        "This adapter is not supported yet; it holds {found}.",
        hint="Today glmlite reads a P-Tuning v2 prefix without projection ({name}). Merge a LoRA "
        "into its checkpoint before the export.",
        found=found,
        name=PREFIX_EMBEDDING,
    )
