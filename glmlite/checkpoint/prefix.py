"""P-Tuning v2: a trained prefix is a ready-made key-value cache.

Sources: `PrefixEncoder` and `get_prompt` of the official `modeling_chatglm.py`; the prefix encoders
of mindpet and MindFormers, which name their parameters otherwise and compute the same. Both know a
table alone (the cache itself) and a table that a two-layer perceptron turns into the cache.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from glmlite.checkpoint.checkpoint import Checkpoint
from glmlite.checkpoint.folder import open_checkpoint
from glmlite.checkpoint.source import Shape, WeightSource
from glmlite.errors import CheckpointError
from glmlite.model.config import ModelConfig

PREFIX_EMBEDDING = "transformer.prefix_encoder.embedding.weight"

Prefix = list[tuple[NDArray[np.float32], NDArray[np.float32]]]

# What an encoder's parameters are called, after everything up to "prefix_encoder.".
_PARTS = {
    "embedding.weight": "table",
    "trans.0.weight": "weight_in",
    "trans.0.bias": "bias_in",
    "trans.2.weight": "weight_out",
    "trans.2.bias": "bias_out",
    "mindpet_delta_ptuning2_embedding.embedding_table": "table",
    "mindpet_delta_ptuning2_dense_in.weight": "weight_in",
    "mindpet_delta_ptuning2_dense_in.bias": "bias_in",
    "mindpet_delta_ptuning2_dense_out.weight": "weight_out",
    "mindpet_delta_ptuning2_dense_out.bias": "bias_out",
}
_NAME = re.compile(r"(?:.*\.)?prefix_encoder\.(.+)")


@dataclasses.dataclass(frozen=True)
class PrefixNames:
    """The tensors of one prefix encoder; the four of the projection are there together or not."""

    table: str
    weight_in: str | None = None
    bias_in: str | None = None
    weight_out: str | None = None
    bias_out: str | None = None

    @property
    def projected(self) -> bool:
        """Whether a perceptron stands between the table and the cache."""
        return self.weight_in is not None


def is_prefix_name(name: str) -> bool:
    """Whether a tensor belongs to a prefix encoder."""
    return _part(name) is not None


def _part(name: str) -> str | None:
    match = _NAME.fullmatch(name)
    return _PARTS.get(match[1]) if match else None


def find_prefix(names: Collection[str]) -> PrefixNames | None:
    """The prefix encoder among `names`, or None where there is none.

    Raises:
        CheckpointError: it is incomplete, or there are two.
    """
    found: dict[str, str] = {}
    for name in sorted(names):
        part = _part(name)
        if part is None:
            continue
        if part in found:
            raise CheckpointError(
                "There are two prefix encoders here: {first} and {second}.",
                hint="Keep the one that belongs to the model.",
                first=found[part],
                second=name,
            )
        found[part] = name
    if not found:
        return None
    needed = set(_PARTS.values()) if len(found) > 1 else {"table"}
    missing = sorted(needed - set(found))
    if missing:
        raise CheckpointError(
            "The prefix encoder is incomplete: {found} is there, {missing} is not.",
            hint="Fetch the adapter again; all of its tensors are needed.",
            found=", ".join(sorted(found.values())),
            missing=", ".join(missing),
        )
    return PrefixNames(**found)


def read_prefix(source: str | Path | Checkpoint | WeightSource, config: ModelConfig) -> Prefix:
    """The cache that a P-Tuning v2 adapter puts before every sequence.

    Args:
        source: the adapter's folder or file, or tensors that are already open.
        config: sizes of the model that the prefix was trained for.

    Returns:
        Per layer the keys and values, float32 [groups, P, head_dim]. Keys get no rotary embedding.

    Raises:
        CheckpointError: there is no prefix, the file is damaged, or it fits another model.
    """
    tensors = open_checkpoint(source) if isinstance(source, (str, Path)) else source
    shapes = tensors.shapes()
    names = find_prefix(shapes)
    if names is None:
        raise CheckpointError(
            "This is no P-Tuning v2 prefix; it holds {found}.",
            hint="A prefix is called {name}, or "
            "prefix_encoder.mindpet_delta_ptuning2_embedding.embedding_table.",
            found=", ".join(sorted(shapes)[:3]),
            name=PREFIX_EMBEDDING,
        )
    _check_fits(names, shapes, config)
    table = _project(names, tensors)
    table = table.reshape(len(table), 2 * config.num_layers, config.num_groups, config.head_dim)
    per_slot = np.ascontiguousarray(table.transpose(1, 2, 0, 3))  # [2·layers, groups, P, head_dim]
    return [(per_slot[2 * i], per_slot[2 * i + 1]) for i in range(config.num_layers)]


def _project(names: PrefixNames, tensors: WeightSource) -> NDArray[np.float32]:
    """The cache as one table [P, layers · 2 · groups · head_dim]."""

    def read(name: str | None) -> NDArray[np.float32]:
        assert name is not None  # noqa: S101 - find_prefix saw to it
        return tensors.read(name).astype(np.float32, copy=False)

    table = read(names.table)
    if not names.projected:
        return table
    hidden = np.tanh(table @ read(names.weight_in).T + read(names.bias_in))
    with np.errstate(over="ignore", invalid="ignore"):
        result = hidden @ read(names.weight_out).T + read(names.bias_out)
    if not np.isfinite(result).all():
        raise CheckpointError(
            "The projection {name} gives NaN or infinite values.",
            hint="Its training diverged; use an earlier checkpoint.",
            name=names.weight_out,
        )
    return np.asarray(result, np.float32)


def _check_fits(names: PrefixNames, shapes: Mapping[str, Shape], config: ModelConfig) -> None:
    width = 2 * config.num_layers * config.group_size
    shape = shapes[names.table]
    if len(shape) != 2 or shape[1] != width:
        raise CheckpointError(
            "The prefix {name} is {found}; this model needs [length, {width}] "
            "(2 × {layers} layers × {groups} groups × {head_dim}).",
            name=names.table,
            found=list(shape),
            width=width,
            layers=config.num_layers,
            groups=config.num_groups,
            head_dim=config.head_dim,
        )
    if names.weight_in is None:
        return
    inner = (*shapes[names.weight_in], 0)[0]
    wanted = {
        names.weight_in: (inner, width),
        names.bias_in: (inner,),
        names.weight_out: (width, inner),
        names.bias_out: (width,),
    }
    for name, needed in wanted.items():
        if name is not None and shapes[name] != needed:
            raise CheckpointError(
                "The projection {name} is {found}; it must be {needed}.",
                name=name,
                found=list(shapes[name]),
                needed=list(needed),
            )
