"""Whether weights, and what a network makes of them, stay where float32 can go on with them.

Quantization squares weights, activations, and their errors, and smoothing moves factors of up to a
thousand between them. What lies within these limits stays finite through all of it; what lies
beyond is no trained network, and is named where it is met first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from glmlite.errors import CheckpointError
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import FINAL_NORM, layer_prefix

if TYPE_CHECKING:
    from glmlite.checkpoint import WeightSource

LARGEST_WEIGHT = 1e12
LARGEST_ACTIVATION = 1e15
# Values at a time.
_BLOCK = 1 << 22
_EXPONENT = np.uint16(0x7C00)


def check_weight(name: str, weight: NDArray[Any]) -> None:
    """Refuse a weight that cannot be quantized.

    Args:
        name: of the tensor, for messages.
        weight: float, any shape.

    Raises:
        CheckpointError: it holds NaN, infinity, or a value beyond `LARGEST_WEIGHT`.
    """
    if weight.dtype == np.float16:
        # NumPy has no fast comparison of halves; their exponents are whole numbers.
        flat = np.ascontiguousarray(weight).reshape(-1).view(np.uint16)
        blocks = (flat[start : start + _BLOCK] for start in range(0, flat.size, _BLOCK))
        if not any((block & _EXPONENT).max() == _EXPONENT for block in blocks):
            return
    elif weight.size == 0:
        return
    largest = largest_of(weight)
    if largest <= LARGEST_WEIGHT:  # false of NaN
        return
    if not np.isfinite(weight).all():
        raise CheckpointError(
            "Tensor {name} holds NaN or infinity; it cannot be quantized.",
            hint="Check the bundle: glmlite inspect BUNDLE --verify",
            name=name,
        )
    raise CheckpointError(
        "Tensor {name} holds the value {largest:.3g}; with weights beyond {limit:.0e} a network "
        "overflows, so it cannot be quantized.",
        hint="Get the weights again from where they come from; trained ones lie far below.",
        name=name,
        largest=largest,
        limit=LARGEST_WEIGHT,
    )


def check_activations(name: str, largest: float) -> None:
    """Refuse what a network cannot go on with.

    Args:
        name: of the tensor that it meets.
        largest: its largest absolute value.

    Raises:
        CheckpointError: that is NaN, infinity, or beyond `LARGEST_ACTIVATION`.
    """
    if largest <= LARGEST_ACTIVATION:
        return
    raise CheckpointError(
        "The network overflows: what enters {name} reaches {largest:.3g}.",
        hint="Check the weights: glmlite inspect BUNDLE --verify",
        name=name,
        largest=largest,
    )


def check_hidden(config: ModelConfig, layer: int, hidden: NDArray[Any]) -> None:
    """Refuse hidden states of which a norm would make zeros, for their squares overflow.

    Args:
        config: of the model.
        layer: that they enter; the number of layers stands for what comes behind the last.
        hidden: float32 [tokens, hidden].

    Raises:
        CheckpointError: see `check_activations`.
    """
    behind = layer == config.num_layers
    name = FINAL_NORM if behind else layer_prefix(layer) + "input_layernorm.weight"
    check_activations(name, largest_of(hidden))


def largest_of(x: NDArray[Any]) -> float:
    """The largest absolute value; NaN where there is one."""
    with np.errstate(invalid="ignore"):
        return float(np.maximum(x.max(), -x.min()))


class CheckedWeights:
    """A `WeightSource` that checks every tensor when it is first read.

    Args:
        source: any other.
    """

    def __init__(self, source: WeightSource) -> None:
        self._source = source
        self._checked: set[str] = set()

    @classmethod
    def of(cls, source: WeightSource) -> CheckedWeights:
        """The source itself where it is one already."""
        return source if isinstance(source, cls) else cls(source)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Parameter name -> shape."""
        return self._source.shapes()

    def read(self, name: str) -> NDArray[Any]:
        """One tensor, as the source gives it.

        Raises:
            CheckpointError: it cannot be read, or `check_weight` refuses it.
        """
        weight = self._source.read(name)
        if name not in self._checked:
            check_weight(name, weight)
            self._checked.add(name)
        return weight
