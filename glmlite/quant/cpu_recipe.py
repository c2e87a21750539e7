"""Recipes for CPUs: YAML that says, tensor by tensor, how weights are stored."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from glmlite.errors import ConfigError
from glmlite.exporter import schema
from glmlite.exporter.recipes import find_recipe
from glmlite.exporter.schema import Where
from glmlite.exporter.yaml_file import read_yaml
from glmlite.i18n import _
from glmlite.model.config import ModelConfig
from glmlite.model.layer import DOWN, UP
from glmlite.model.parameters import EMBEDDING, layer_prefix, parameter_shapes
from glmlite.quant.packing import METHODS, Method
from glmlite.toolchain.quantized import BLOCK_SIZES

Scheme = Literal["block", "column", "row", "float32", "share"]
SUFFIXES = (".yaml", ".yml")

_SCHEMES = ("block", "column", "row")
_BITS = {"block": (4, 8), "column": (7, 8), "row": (8,)}
# Keys of a choice, and the schemes that they go with.
_KEYS = {
    "scheme": _SCHEMES,
    "bits": _SCHEMES,
    "block_size": ("block",),
    "symmetric": ("block",),
    "accuracy_level": ("block",),
    "method": _SCHEMES,
    "smoothing": ("column",),
    "outliers": ("column",),
}
_TENSOR_KEYS = (*_KEYS, "keep", "share")
_TOP_KEYS = (*_KEYS, "tensors", "prefill")
_PREFILL_KEYS = (*_KEYS, "tensors")


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


@dataclasses.dataclass(frozen=True)
class WeightSet:
    """One set of weights: a default, and what patterns say otherwise.

    Attributes:
        default: of all matrices but the embedding.
        tensors: glob pattern -> choice, the first that matches counts.
    """

    default: Choice
    tensors: tuple[tuple[str, Choice], ...] = ()

    def choose(self, name: str) -> Choice:
        """The choice for a parameter."""
        for pattern, choice in self.tensors:
            if fnmatch.fnmatchcase(name, pattern):
                return choice
        return Choice("row") if name == EMBEDDING else self.default


@dataclasses.dataclass(frozen=True)
class CpuRecipe:
    """A checked recipe.

    Attributes:
        name: the file's name without its suffix; the scheme's name in manifests.
        weights: of all graphs.
        prefill: of the prefill graph, where that has weights of its own.
        text: the file's.
    """

    name: str
    weights: WeightSet
    prefill: WeightSet | None = None
    text: str = ""

    kind = "cpu"

    def resolve(self, config: ModelConfig) -> tuple[dict[str, Choice], dict[str, Choice] | None]:
        """What becomes of each matrix of a model, in both sets of weights.

        Raises:
            ConfigError: a pattern matches nothing, or a choice does not fit what it is for.
        """
        first = self._resolve(self.weights, config, "tensors")
        if self.prefill is None:
            return first, None
        second = self._resolve(self.prefill, config, "prefill.tensors")
        second[EMBEDDING] = Choice("share")
        for layer in range(config.num_layers):
            up, down = (second[layer_prefix(layer) + name].scheme for name in (UP, DOWN))
            if (up == "share") != (down == "share"):
                raise ConfigError(
                    "Recipe {recipe}: of layer {layer}, prefill shares one of {up} and {down}; "
                    "they go together.",
                    hint="Share both or neither: smoothing moves factors from one to the other.",
                    recipe=self.name,
                    layer=layer,
                    up=UP,
                    down=DOWN,
                )
        return first, second

    def _resolve(self, weights: WeightSet, config: ModelConfig, key: str) -> dict[str, Choice]:
        shapes = parameter_shapes(config)
        for pattern, _choice in weights.tensors:
            if not any(fnmatch.fnmatchcase(name, pattern) for name in shapes):
                raise ConfigError(
                    "Recipe {recipe}: the pattern {pattern!r} of {key} matches no parameter of the "
                    "model.",
                    hint="Names are such as {near}; * stands for anything.",
                    recipe=self.name,
                    pattern=pattern,
                    key=key,
                    near=difflib.get_close_matches(pattern, shapes, n=1, cutoff=0.0)[0],
                )
        found = {n: weights.choose(n) for n, shape in shapes.items() if len(shape) == 2}
        for name, choice in found.items():
            if choice.scheme in _SCHEMES and (choice.scheme == "row") != (name == EMBEDDING):
                raise ConfigError(
                    "Recipe {recipe}: {name} cannot be stored as {scheme}.",
                    hint="Rows are for the embedding, blocks and columns for what is multiplied "
                    "with; `keep: float32` goes with both.",
                    recipe=self.name,
                    name=name,
                    scheme=choice.scheme,
                )
        return found


def is_cpu_recipe(name: str | Path) -> bool:
    """Whether a recipe is one for CPUs; others are a converter's own config files.

    Raises:
        ConfigError: there is no such recipe.
    """
    return find_recipe("quant", name).suffix in SUFFIXES


def load_cpu_recipe(name: str | Path) -> CpuRecipe:
    """Read a recipe by file or by name.

    Raises:
        ConfigError: there is none, or it says something that is not known; names the key.
    """
    path = find_recipe("quant", name)
    recipe = parse_cpu_recipe(read_yaml(path), path.stem, path.name)
    return dataclasses.replace(recipe, text=path.read_text(encoding="utf-8"))


def parse_cpu_recipe(data: Mapping[str, Any], name: str, file: str) -> CpuRecipe:
    """Check what a recipe holds; see `load_cpu_recipe`."""
    prefill = data.get("prefill")
    second = None
    if prefill is not None:
        second = _weight_set(_mapping(prefill, Where(file, "prefill")), _PREFILL_KEYS, file, True)
    return CpuRecipe(name, _weight_set(data, _TOP_KEYS, file, False), second)


def _weight_set(
    data: Mapping[str, Any], known: tuple[str, ...], file: str, prefill: bool
) -> WeightSet:
    top = Where(file, "prefill" if prefill else "")
    _check_keys(data, known, top)
    default = _choice(data, {}, top, prefill)
    where = top.child("tensors")
    tensors = []
    for pattern, entry in _mapping(data.get("tensors") or {}, where).items():
        at = where.child(str(pattern))
        _check_keys(_mapping(entry, at), _TENSOR_KEYS, at)
        tensors.append((str(pattern), _choice(entry, data, at, prefill)))
    return WeightSet(default, tuple(tensors))


def _mapping(value: Any, where: Where) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        where.refuse(value, _("a mapping of keys to values"))
    return value


def _check_keys(data: Mapping[str, Any], known: tuple[str, ...], where: Where) -> None:
    for key in data:
        if key not in known:
            raise ConfigError(
                "{file}: there is no key {key}; did you mean {near}?",
                hint="All keys: {known}.",
                file=where.file,
                key=ascii(where.child(str(key)).key)[1:-1],
                near=difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)[0],
                known=", ".join(known),
            )


def _choice(
    own: Mapping[str, Any], above: Mapping[str, Any], where: Where, prefill: bool
) -> Choice:
    """A choice out of an entry and of what stands above it."""
    if "keep" in own or "share" in own:
        key = "keep" if "keep" in own else "share"
        if len(own) > 1:
            where.refuse(dict(own), _("{key} alone", key=key))
        if key == "keep":
            schema.choice(where.child(key), own[key], ("float32",))
            return Choice("float32")
        if own[key] is not True or not prefill:
            where.child(key).refuse(own[key], _("true, below prefill"))
        return Choice("share")
    scheme = schema.choice(where.child("scheme"), own.get("scheme", above.get("scheme")), _SCHEMES)
    result: dict[str, Any] = {"scheme": scheme}
    # What stands above goes with another scheme, perhaps.
    inherited = above if above.get("scheme") == scheme else {}
    for key, fitting in _KEYS.items():
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
    if key in ("bits", "block_size"):
        known_numbers = BLOCK_SIZES if key == "block_size" else _BITS[scheme]
        if type(value) is not int or value not in known_numbers:
            where.refuse(value, " | ".join(map(str, known_numbers)))
        return value
    return schema.whole(where, value, 0, 4 if key == "accuracy_level" else 1024)
