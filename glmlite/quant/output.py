"""Where a quantized bundle may be written, and whether there is room for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from glmlite.bundle.bundle import MANIFEST
from glmlite.errors import ConfigError
from glmlite.exporter.weights import weights_bytes
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import parameter_shapes
from glmlite.quant.cpu_choice import Choice
from glmlite.toolchain.quantized import companions


def check_apart(source: Path, output: Path) -> None:
    """Refuse to write into what is being read, or in its place.

    Args:
        source: a bundle's folder, or a checkpoint's folder or file.
        output: the new bundle's folder.

    Raises:
        ConfigError: they are the same, the source lies in the output, or the output in a bundle,
            whose files are all listed and hashed, or in a file. Links and mounts are followed.
    """
    read, written = source.resolve(), output.resolve()
    closed = read.is_file() or (read / MANIFEST).exists()
    if _lies_in(read, written) or (closed and _lies_in(written, read)):
        raise ConfigError(
            "The output {output} and what is quantized, {source}, are the same or lie in each "
            "other.",
            hint="A quantized model cannot be turned back into a float one. Name another --output, "
            "beside it.",
            output=str(output),
            source=str(source),
        )


def _lies_in(path: Path, folder: Path) -> bool:
    return any(_same(place, folder) for place in (path, *path.parents))


def _same(one: Path, other: Path) -> bool:
    """Whether both are one place: by what lies on the disk, since one folder may have two names."""
    try:
        return one.samefile(other)
    except OSError:  # one of them is yet to be made
        return one == other


def chosen_bytes(config: ModelConfig, *sets: Mapping[str, Choice]) -> int:
    """Bytes of the weights that a recipe for CPUs stores, alignment and smoothing factors apart.

    Args:
        config: of the model.
        sets: matrix name -> how it is stored; norms and biases are counted once.
    """
    shapes = parameter_shapes(config)
    total = sum(4 * shape[0] for shape in shapes.values() if len(shape) == 1)
    for choices in sets:
        total += sum(_matrix_bytes(shapes[name], choice) for name, choice in choices.items())
    return total


def _matrix_bytes(shape: tuple[int, ...], choice: Choice) -> int:
    if choice.scheme == "share":
        return 0
    rows, columns = shape
    if choice.scheme == "float32":
        return 4 * rows * columns
    form = {
        "scheme": choice.scheme,
        "bits": choice.bits,
        "shape": [rows, columns],
        "block_size": choice.block_size,
        "symmetric": choice.symmetric,
        "outliers": range(min(choice.outliers, columns - 1)),
    }
    return sum(
        np.dtype(dtype).itemsize * int(np.prod(part))
        for dtype, part in companions("", form).values()
    )


def rounded_bytes(config: ModelConfig, names: tuple[str, ...], dtype: str) -> int:
    """Bytes of one set of weights in which some matrices are int8, scales and zero points apart.

    Args:
        config: of the model.
        names: the matrices.
        dtype: of everything else.
    """
    shapes = parameter_shapes(config)
    values = sum(shapes[name][0] * shapes[name][1] for name in names)
    return weights_bytes(config, dtype) - values * (np.dtype(dtype).itemsize - 1)
