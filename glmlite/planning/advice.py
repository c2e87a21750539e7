"""How much room a device leaves: the largest batch and the longest cache with each weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from glmlite.planning.devices import Device
from glmlite.planning.engines import ENGINES
from glmlite.planning.estimate import Estimate, estimate
from glmlite.planning.storage import FLOATS, ON_DEVICE, SETS, MatrixKind, WeightKind
from glmlite.planning.subject import Subject

_CACHE_STEP = 256
_MAX_CACHE = 1 << 17
_MAX_BATCH = 1024


@dataclasses.dataclass(frozen=True)
class Room:
    """What fits with one kind of weights, everything else as planned.

    Attributes:
        weights: the kind.
        estimate: at the planned sizes.
        largest_batch: B that fits with the planned cache; 0 where not even 1 does.
        longest_cache: S that fits with the planned batch, a multiple of 256; 0 where none does.
    """

    weights: WeightKind
    estimate: Estimate
    largest_batch: int
    longest_cache: int


def make_room(subject: Subject, device: Device, engine: str = "auto") -> tuple[Room, ...]:
    """The kinds of weights that the device's engines have kernels for, and what fits with each."""
    kinds = ON_DEVICE[device.kind]
    if subject.weights not in kinds:
        kinds = (subject.weights, *kinds)
    return tuple(_room(subject, device, engine, kind) for kind in kinds)


def _room(subject: Subject, device: Device, engine: str, kind: WeightKind) -> Room:
    planned = subject if kind == subject.weights else subject.with_weights(kind)
    if kind not in FLOATS and device.kind == "cpu" and planned.format == "mindir":
        planned = dataclasses.replace(planned, format="onnx")  # MindIR engines have no such kernels
        engine = "auto"

    def fits(batch: int, cache: int) -> bool:
        return estimate(planned.with_sizes(batch, cache), device, engine).memory.fits

    batch, cache = planned.batch_size, planned.cache_length
    return Room(
        kind,
        estimate(planned, device, engine),
        _largest(lambda n: fits(n, cache), _MAX_BATCH),
        _CACHE_STEP * _largest(lambda n: fits(batch, n * _CACHE_STEP), _MAX_CACHE // _CACHE_STEP),
    )


def kernels_asked(subjects: Sequence[Subject]) -> set[MatrixKind]:
    """Kinds of products of ONNX Runtime's that the estimates of these subjects on a CPU ask for.

    Args:
        subjects: one, whose room is told as well, or several.
    """
    kinds = {kind for s in subjects if s.format == "onnx" for kind in s.layout("cpu").kinds}
    if len(subjects) == 1:
        kinds |= {kind for sets in SETS.values() for kind in sets if kind not in FLOATS}
        if subjects[0].format == "onnx":
            kinds.add("float32")
    native = ENGINES["onnx"].native
    return {kind if kind in native else "float32" for kind in kinds}


def _largest(fits: Callable[[int], bool], limit: int) -> int:
    """The largest n up to `limit` that fits, where everything below one that fits does; 0: none."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
