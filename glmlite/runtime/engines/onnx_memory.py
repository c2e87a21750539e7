"""Whether ONNX Runtime can hold a bundle's weights: half-precision ones it widens to float32."""

from __future__ import annotations

from collections.abc import Mapping

from glmlite.bundle import Bundle
from glmlite.errors import EngineError
from glmlite.runtime.host import inspect_host

_HALF = ("float16", "bfloat16")
_WIDE_BYTES = 4


def check_memory(bundle: Bundle) -> None:
    """Refuse weights that cannot fit, before minutes of loading end in the system's kill.

    ONNX Runtime multiplies float32 only, so that it widens every plain float16 matrix when it opens
    the graph, and keeps the result. (Rows of an embedding are widened as they are looked up.)
    float32 weights stay mapped, and quantized ones are as large in memory as on disk.

    Args:
        bundle: with ONNX graphs.

    Raises:
        EngineError: the widened weights alone are larger than what this process may have.
    """
    short = shortage(bundle)
    if short:
        raise EngineError(
            "The float16 weights of {path} take {needed:.1f} GiB as float32, which is what ONNX "
            "Runtime computes in; {available:.1f} GiB are free.",
            hint="Quantize them: glmlite quantize {path} --recipe cpu_int8 --output DIR",
            path=str(bundle.path),
            needed=short[0] / 2**30,
            available=short[1] / 2**30,
        )


def shortage(bundle: Bundle) -> tuple[int, int] | None:
    """Bytes that the widened weights take, and bytes there are; None where they fit."""
    needed, host = widened_bytes(bundle), inspect_host()
    limits = [n for n in (host.memory_available, host.memory_limit) if n is not None]
    return (needed, min(limits)) if limits and needed > min(limits) else None


def widened_bytes(bundle: Bundle) -> int:
    """Bytes that plain half-precision matrices take once they are float32."""
    weights = bundle.weights()
    shapes: Mapping[str, tuple[int, ...]] = weights.shapes()
    total = 0
    for name, shape in shapes.items():
        if len(shape) == 2 and "embedding" not in name and weights.dtype(name) in _HALF:
            total += _WIDE_BYTES * shape[0] * shape[1]
    return total
