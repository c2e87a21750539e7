"""Random weights of a model's shapes: as many as needed, at the speed of copying memory.

One block of normal values is drawn from the seed; every tensor is that block, repeated from a
place of its own and scaled. The block's length is a prime, so no two rows of a matrix begin at the
same place in it, and rows that overlap are shifted against each other, which leaves them as good as
independent.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from glmlite.model.config import ModelConfig
from glmlite.model.parameters import EMBEDDING, parameter_shapes

# Primes: a 6B model repeats the large one 1,500 times, a tiny one does not fill the small one.
_BLOCK = 4_194_301
_SMALL_BLOCK = 65_521
# Deviation of a norm's weights around 1, and of biases around 0.
_SPREAD = np.float32(0.1)


class RandomWeights:
    """A `WeightSource`: the same values for the same seed, whatever is read first.

    Matrices have a deviation of 1/√in_features, so that activations keep their size from layer to
    layer; the embedding has 1.

    Args:
        config: which parameters, and their shapes.
        seed: of the values, 0 or more.
    """

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        self._shapes = parameter_shapes(config)
        largest = max(math.prod(shape) for shape in self._shapes.values())
        length = _BLOCK if largest > _SMALL_BLOCK else _SMALL_BLOCK
        # A generator whose stream NumPy promises to keep, unlike default_rng's.
        generator = np.random.Generator(np.random.PCG64(seed))
        self._block = generator.standard_normal(length, np.float32)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Parameter name -> shape."""
        return self._shapes

    def read(self, name: str) -> NDArray[np.float32]:
        """One parameter, float32, in memory of its own."""
        shape = self._shapes[name]
        values = self._values(math.prod(shape), zlib.crc32(name.encode()))
        if len(shape) == 1:
            values *= _SPREAD
            if not name.endswith(".bias"):
                values += np.float32(1)
        elif name != EMBEDDING:
            values *= np.float32(1 / math.sqrt(shape[-1]))
        return values.reshape(shape)

    def _values(self, count: int, start: int) -> NDArray[np.float32]:
        """`count` normal values, from place `start` of the block on."""
        values = np.empty(count, np.float32)
        start %= len(self._block)
        filled = 0
        while filled < count:
            piece = self._block[start : start + count - filled]
            values[filled : filled + len(piece)] = piece
            filled, start = filled + len(piece), 0
        return values
