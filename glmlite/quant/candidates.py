"""A weights file as what the accuracy report compares: with what its engine does beside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from glmlite.bundle.contents import read_index
from glmlite.bundle.weights import BundleWeights
from glmlite.i18n import _
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import parameter_shapes
from glmlite.quant.accuracy import Candidate
from glmlite.quant.activations import rounding_of
from glmlite.quant.tensor_errors import Smoothing
from glmlite.toolchain.quantized import companions
from glmlite.toolchain.weights import WeightsIndex


def read_candidate(name: str, index: Path, config: ModelConfig, prefix: str = "") -> Candidate:
    """The weights of a bundle, to be measured.

    Args:
        name: for tables: the recipe's.
        index: `weights/index.json`.
        config: of the model.
        prefix: of a second set of weights, such as "prefill/".

    Raises:
        BundleError: the index does not hold.
    """
    weights = BundleWeights(index, prefix, folded=True)
    shapes = parameter_shapes(config)
    matrices = [matrix for matrix, shape in shapes.items() if len(shape) == 2]
    forms = {matrix: form for matrix in matrices if (form := weights.form(matrix))}
    changes = {matrix: Smoothing(*weights.smoothing(matrix)) for matrix in matrices}
    return Candidate(
        name=name,
        source=weights,
        rounding=rounding_of(forms),
        smoothing={m: s for m, s in changes.items() if s.columns is not None or s.rows is not None},
        schemes={matrix: describe(form) for matrix, form in forms.items()},
        bytes=_stored_bytes(read_index(index), shapes, prefix),
    )


def describe(form: Mapping[str, Any]) -> str:
    """How a matrix is stored, in words; `form` is its entry in the index."""
    scheme, bits = form["scheme"], form["bits"]
    if scheme == "block":
        return _("int{bits}, blocks of {size}", bits=bits, size=form["block_size"])
    if scheme == "row":
        return _("int{bits} rows", bits=bits)
    if outliers := form.get("outliers"):
        return _("int8 columns ({bits} bits), {count} kept float", bits=bits, count=len(outliers))
    return _("int8 columns ({bits} bits)", bits=bits)


def _stored_bytes(index: WeightsIndex, names: Iterable[str], prefix: str) -> int:
    """Bytes of the tensors that a set of weights uses; of what it shares, those of the first."""
    total = 0
    for name in names:
        found = index.find(name, prefix)
        form = index.quantized.get(found)
        parts = companions(found, form) if form else [found]
        total += sum(int(index.tensors[part]["nbytes"]) for part in parts)
    return total
