"""Recipes for CPUs: YAML that says, tensor by tensor, how weights are stored."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glmlite.errors import ConfigError
from glmlite.exporter.recipes import find_recipe, list_recipes
from glmlite.exporter.schema import Where
from glmlite.exporter.yaml_file import parse_mapping, read_yaml_text
from glmlite.i18n import _
from glmlite.model.config import ModelConfig
from glmlite.model.layer import DOWN, UP
from glmlite.model.parameters import EMBEDDING, layer_prefix, parameter_shapes
from glmlite.quant.cpu_choice import KEYS, SCHEMES, Choice, read_choice
from glmlite.quant.patterns import check_patterns, first_match

__all__ = [
    "Choice",
    "CpuRecipe",
    "WeightSet",
    "is_cpu_recipe",
    "load_cpu_recipe",
    "parse_cpu_recipe",
]

SUFFIXES = (".yaml", ".yml")

_TENSOR_KEYS = (*KEYS, "keep", "share")
_TOP_KEYS = (*KEYS, "tensors", "prefill")
_PREFILL_KEYS = (*KEYS, "tensors")


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
        number = first_match(name, self.patterns)
        if number is not None:
            return self.tensors[number][1]
        return Choice("row") if name == EMBEDDING else self.default

    @property
    def patterns(self) -> list[str]:
        """The patterns alone, in order."""
        return [pattern for pattern, _choice in self.tensors]


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
            ConfigError: a pattern decides about no matrix, a choice does not fit what it is for, or
                nothing is quantized.
        """
        first = self._resolve(self.weights, config, "tensors")
        second = None
        if self.prefill is not None:
            second = self._resolve(self.prefill, config, "prefill.tensors")
        if not any(c.scheme in SCHEMES for c in (*first.values(), *(second or {}).values())):
            raise ConfigError(
                "Recipe {recipe} quantizes no weight of this model.",
                hint="It keeps every matrix float32. Such bundles come from: glmlite export "
                "--config NAME --checkpoint DIR --set export.format=onnx",
                recipe=self.name,
            )
        if second is None:
            return first, None
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
        found = {n: weights.choose(n) for n, shape in shapes.items() if len(shape) == 2}
        if weights is not self.prefill:
            check_patterns(weights.patterns, found, self.name, key)
        else:
            # Both graphs look ids up in one table; patterns may say so, and nothing else.
            decided = [n for n, c in found.items() if n != EMBEDDING or c.scheme == "share"]
            check_patterns(weights.patterns, decided, self.name, key)
            found[EMBEDDING] = Choice("share")
        for name, choice in found.items():
            if choice.scheme in SCHEMES and (choice.scheme == "row") != (name == EMBEDDING):
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
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            "Recipe {recipe} is for a converter of MindSpore Lite, not for CPUs.",
            hint="Recipes for CPUs: {known}.",
            recipe=path.stem,
            known=", ".join(n for n, p in list_recipes("quant").items() if p.suffix in SUFFIXES),
        )
    text = read_yaml_text(path)
    data = parse_mapping(text, path.name, "quant/cpu_int4.yaml")
    return dataclasses.replace(parse_cpu_recipe(data, path.stem, path.name), text=text)


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
    default = read_choice(data, {}, top, prefill)
    where = top.child("tensors")
    tensors = []
    for pattern, entry in _mapping(data.get("tensors") or {}, where).items():
        at = where.child(str(pattern))
        _check_keys(_mapping(entry, at), _TENSOR_KEYS, at)
        tensors.append((str(pattern), read_choice(entry, data, at, prefill)))
    return WeightSet(default, tuple(tensors))


def _mapping(value: Any, where: Where) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        where.refuse(value, _("a mapping of keys to values"))
    return value


def _check_keys(data: Mapping[str, Any], known: tuple[str, ...], where: Where) -> None:
    for key in data:
        if key in known:
            continue
        path = ascii(where.child(str(key)).key)[1:-1]
        place = {
            "tensors": _("at the top of the recipe or of prefill"),
            "prefill": _("at the top of the recipe"),
            "keep": _("below a pattern of tensors"),
            "share": _("below a pattern of prefill.tensors"),
        }.get(key)
        if place is not None:
            raise ConfigError(
                "{file}: {key} stands where {name} cannot; it belongs {place}.",
                file=where.file,
                key=path,
                name=key,
                place=place,
            )
        near = difflib.get_close_matches(str(key), known, n=1)
        raise ConfigError(
            "{file}: there is no key {key}; did you mean {near}?"
            if near
            else "{file}: there is no key {key}.",
            hint="All keys: {known}.",
            file=where.file,
            key=path,
            near="".join(near),
            known=", ".join(known),
        )
