"""How one matrix is stored: what a recipe says of it, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from glmlite.errors import ConfigError
from glmlite.exporter import schema
from glmlite.exporter.schema import Where
from glmlite.i18n import _
from glmlite.quant.packing import METHODS, Method
from glmlite.toolchain.quantized import BLOCK_SIZES

Scheme = Literal["block", "column", "row", "float32", "share"]

SCHEMES = ("block", "column", "row")
# Of what patterns say nothing of, which is multiplied with.
_DEFAULT_SCHEMES = SCHEMES[:2]
_BITS = {"block": (4, 8), "column": (7, 8), "row": (8,)}
# ONNX Runtime's 2 and 3 allow float16 and bfloat16; on CPUs, graphs of float32 get neither.
_ACCURACY_LEVELS = (0, 1, 4)
# Keys of a choice, and the schemes that they go with.
KEYS = {
    "scheme": SCHEMES,
    "bits": SCHEMES,
    "block_size": ("block",),
    "symmetric": ("block",),
    "accuracy_level": ("block",),
    "method": SCHEMES,
    "smoothing": ("column",),
    "outliers": ("column",),
}


@dataclasses.dataclass(frozen=True)
class Choice:
    """How one matrix is stored; see `glmlite.toolchain.quantized`.

    Attributes:
        scheme: a form, or "float32" (not quantized), or "share" (of a second set of weights: as in
            the first).
        bits: 4 or 8 in blocks, 7 or 8 in columns, 8 in rows.
        block_size: 16 … 256.
        symmetric: one zero point for all blocks.
        method: how the scales are found: "round", "mse", or "activation_aware" (errors weigh as
            much as what they are multiplied with; blocks are also smoothed).
        accuracy_level: of MatMulNBits: 4 multiplies integers, 0 and 1 float32.
        smoothing: of columns: even out activations and weights (SmoothQuant, arXiv:2211.10438).
        outliers: columns with the largest activations that stay float32.
    """

    scheme: Scheme
    bits: int = 8
    block_size: int = 128
    symmetric: bool = True
    method: Method = "mse"
    accuracy_level: int = 4
    smoothing: bool = True
    outliers: int = 0

    @property
    def is_smoothed(self) -> bool:
        """Whether factors of the columns are looked for."""
        if self.scheme == "block":
            return self.method == "activation_aware"
        return self.scheme == "column" and self.smoothing

    @property
    def needs_calibration(self) -> bool:
        """Whether it takes a text."""
        if self.scheme not in ("block", "column"):
            return False
        return self.method == "activation_aware" or self.is_smoothed or self.outliers > 0


def read_choice(
    own: Mapping[str, Any], above: Mapping[str, Any], where: Where, prefill: bool
) -> Choice:
    """A choice out of an entry and of what stands above it.

    Args:
        own: the entry.
        above: the recipe, or its prefill section; empty for these themselves.
        where: the entry stands, for messages.
        prefill: whether it is of the prefill graph's own weights.

    Raises:
        ConfigError: names the key.
    """
    if "keep" in own or "share" in own:
        key = "keep" if "keep" in own else "share"
        if len(own) > 1:
            where.refuse(dict(own), _("{key} alone", key=key))
        if key == "keep":
            schema.choice(where.child(key), own[key], ("float32",))
            return Choice("float32")
        if not prefill:
            raise ConfigError(
                "{file}: {key} stands outside prefill, where there is nothing to share.",
                hint="It belongs below prefill: tensors; here, `keep: float32` leaves a matrix as "
                "it is.",
                file=where.file,
                key=where.child(key).key,
            )
        if own[key] is not True:
            where.child(key).refuse(own[key], "true")
        return Choice("share")
    given = own.get("scheme", above.get("scheme"))
    if given is None:
        raise ConfigError(
            "{file}: {key} is missing; it says how matrices are stored: {known}.",
            hint="Start from a shipped one, such as {example}.",
            file=where.file,
            key=where.child("scheme").key,
            known=" | ".join(_DEFAULT_SCHEMES),
            example="quant/cpu_int4.yaml",
        )
    scheme = schema.choice(where.child("scheme"), given, SCHEMES if above else _DEFAULT_SCHEMES)
    result: dict[str, Any] = {"scheme": scheme}
    # What stands above goes with another scheme, perhaps.
    inherited = above if above.get("scheme") == scheme else {}
    for key, fitting in KEYS.items():
        if key in own and scheme not in fitting:
            where.child(key).refuse(own[key], _("left out: scheme {scheme}", scheme=scheme))
        if key != "scheme" and key in {**inherited, **own} and scheme in fitting:
            at = where.child(key) if key in own else Where(where.file, key)
            result[key] = _value(key, {**inherited, **own}[key], at, scheme)
    result.setdefault("bits", {"block": 4, "column": 7, "row": 8}[scheme])
    return Choice(**result)


def _value(key: str, value: Any, where: Where, scheme: str) -> Any:
    if key in ("symmetric", "smoothing"):
        if not isinstance(value, bool):
            where.refuse(value, "true | false")
        return value
    if key == "method":
        known = METHODS if scheme != "row" else METHODS[:2]
        return schema.choice(where, value, known)
    numbers = {
        "bits": _BITS[scheme],
        "block_size": BLOCK_SIZES,
        "accuracy_level": _ACCURACY_LEVELS,
    }
    if key in numbers:
        known_numbers = numbers[key]
        if type(value) is not int or value not in known_numbers:
            where.refuse(value, " | ".join(map(str, known_numbers)))
        return value
    return schema.whole(where, value, 0, 1024)
