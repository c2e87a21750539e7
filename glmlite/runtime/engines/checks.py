"""What every engine refuses before it computes."""

from __future__ import annotations

from collections.abc import Sequence

from glmlite.errors import EngineError
from glmlite.runtime.engines.base import EngineSpec, Int32Array


def closed() -> EngineError:
    """The error of every call after `close`."""
    return EngineError("The engine is closed.", hint="Load the bundle again: glmlite.load(path).")


def check_step(spec: EngineSpec, rows: Sequence[Int32Array], sizes: tuple[int, ...]) -> None:
    """Check a step's arrays against the graph contract.

    Raises:
        EngineError: a shape, an id, a position or a length that no graph takes.
    """
    input_ids, position, valid_length = rows
    batch = (spec.batch_size,)
    if input_ids.ndim != 2 or not (
        input_ids.shape[:1] == position.shape == valid_length.shape == batch
    ):
        raise EngineError(
            "A step takes input_ids [{batch}, T], position [{batch}] and valid_length [{batch}]; "
            "it got {found}.",
            batch=spec.batch_size,
            found=str([a.shape for a in rows]),
        )
    tokens = input_ids.shape[1]
    if tokens not in sizes and sizes != (0,):
        raise EngineError(
            "This bundle has no graph for chunks of {tokens} tokens; it has {sizes}.",
            tokens=tokens,
            sizes=", ".join(map(str, sizes)) or "-",
        )
    if input_ids.size and (input_ids.min() < 0 or input_ids.max() >= spec.vocab_size):
        raise EngineError(
            "Token ids must lie between 0 and {last}; found {low} to {high}.",
            last=spec.vocab_size - 1,
            low=int(input_ids.min()),
            high=int(input_ids.max()),
        )
    if (
        position.min() < 0
        or valid_length.min() < 0
        or valid_length.max() > tokens
        or int((position + valid_length).max()) > spec.capacity
    ):
        raise EngineError(
            "position {position} and valid_length {valid} do not fit {tokens} tokens and a "
            "capacity of {capacity}.",
            position=str(position.tolist()),
            valid=str(valid_length.tolist()),
            tokens=tokens,
            capacity=spec.capacity,
        )
