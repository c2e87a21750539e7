"""Quantization recipes: the converters' own config files, read and checked."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from glmlite.errors import ConfigError
from glmlite.exporter.recipes import find_recipe
from glmlite.i18n import _
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import EMBEDDING, OUTPUT, layer_prefix, parameter_shapes
from glmlite.quant.keys import GLMLITE_SECTION, KEYS
from glmlite.regular_file import decode, read_regular

Kind = Literal["ascend", "lite_cpu"]
Sections = Mapping[str, Mapping[str, str]]

_MAX_BYTES = 1 << 20
_COMMON, _WEIGHT = "common_quant_param", "weight_quant_param"
_DEFAULT_OPTIMIZE = {"ascend": "ascend_oriented:910b", "lite_cpu": "general"}


@dataclasses.dataclass(frozen=True)
class QuantRecipe:
    """A checked recipe.

    Attributes:
        name: the file's name without its suffix.
        kind: "ascend" (on-the-fly int8, runs on Ascend only) or "lite_cpu" (DYNAMIC_QUANT).
        sections: section -> key -> value, as the converter gets them.
        optimize: the converter's `--optimize`.
    """

    name: str
    kind: Kind
    sections: Sections
    optimize: str

    @property
    def skipped(self) -> tuple[str, ...]:
        """What `skip_quant_node` names: weights of the model, or nodes of a graph."""
        names = self.sections[_COMMON].get("skip_quant_node", "").split(",")
        return tuple(name.strip() for name in names if name.strip())

    def is_quantized(self, name: str, shape: tuple[int, ...]) -> bool:
        """Whether a parameter becomes int8: a matrix that is multiplied with, and large enough.

        Args:
            name: Hugging Face name.
            shape: [out, in] of matrices. The limits are those of the converters: more than
                `min_quant_weight_size` values, more than `min_quant_weight_channel` rows.
        """
        common = self.sections[_COMMON]
        if len(shape) != 2 or name in self.skipped:
            return False
        if name == EMBEDDING:
            return self.kind == "lite_cpu"
        size, channels = (
            int(common.get(key, "0"))
            for key in ("min_quant_weight_size", "min_quant_weight_channel")
        )
        return shape[0] * shape[1] > size and shape[0] > channels

    def quantized_names(self, config: ModelConfig) -> tuple[str, ...]:
        """The parameters of a model that become int8.

        Raises:
            ConfigError: `skip_quant_node` names a weight that the model does not have, or no weight
                is left.
        """
        shapes = parameter_shapes(config)
        for name in self.skipped:
            if name.startswith("transformer.") and name not in shapes:
                raise ConfigError(
                    "Recipe {recipe}: skip_quant_node names the weight {name}, which the model "
                    "does not have.",
                    hint="Names are {first}…, …, {last}.",
                    recipe=self.name,
                    name=name,
                    first=layer_prefix(0),
                    last=OUTPUT,
                )
        names = tuple(n for n, shape in shapes.items() if self.is_quantized(n, shape))
        if not names:
            raise ConfigError(
                "Recipe {recipe} quantizes no weight of this model.",
                hint="Lower min_quant_weight_size and min_quant_weight_channel in a copy of it, "
                "and name the copy: --recipe FILE",
                recipe=self.name,
            )
        return names

    def config_text(self, skip: tuple[str, ...]) -> str:
        """The file for the converter, with `skip` as the value of skip_quant_node."""
        lines = []
        for section, values in self.sections.items():
            lines.append(f"[{section}]")
            lines += [f"{k}={v}" for k, v in values.items() if k != "skip_quant_node"]
            if section == _COMMON and skip:
                lines.append(f"skip_quant_node={','.join(skip)}")
            lines.append("")
        return "\n".join(lines)


def load_recipe(name: str | os.PathLike[str]) -> QuantRecipe:
    """Read a recipe by file or by name.

    Raises:
        ConfigError: there is none, or it says something that is not documented; names the key.
    """
    path = find_recipe("quant", Path(name) if isinstance(name, os.PathLike) else name)
    try:
        content = read_regular(path, _MAX_BYTES)
        if len(content) > _MAX_BYTES:
            raise ConfigError("{file} is too large for a recipe.", file=path.name)
        text = decode(content)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "{file} cannot be read: {error}", file=path.name, error=str(error)
        ) from error
    sections = parse_sections(text, path.name)
    check_sections(sections, path.name)
    own = sections.pop(GLMLITE_SECTION, {})
    kind = _kind(sections, path.name)
    optimize = own.get("optimize", _DEFAULT_OPTIMIZE[kind])
    if (kind == "ascend") != optimize.startswith("ascend_oriented"):
        raise ConfigError(
            "{file}: optimize is {found}, which does not fit {type}.",
            file=path.name,
            found=optimize,
            type=sections[_COMMON]["quant_type"],
        )
    return QuantRecipe(path.stem, kind, sections, optimize)


def parse_sections(text: str, file: str) -> dict[str, dict[str, str]]:
    """Sections, keys and values as the converter's own parser splits them.

    Lines that begin with `#` are comments; a `#` behind a value belongs to the value.

    Raises:
        ConfigError: a line is none of these, or a section or key comes twice.
    """
    sections: dict[str, dict[str, str]] = {}
    current: dict[str, str] | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        key, separator, value = (part.strip() for part in line.partition("="))
        if line.startswith("[") and line.endswith("]"):
            name = line[1:-1].strip()
            if name in sections:
                _refuse_line(file, number, line)
            current = sections[name] = {}
        elif current is None or not separator or not key or key in current:
            _refuse_line(file, number, line)
        else:
            current[key] = value
    return sections


def _refuse_line(file: str, number: int, line: str) -> None:
    raise ConfigError(
        "{file}, line {number}: {line!r} is no [section], no key=value below one, or comes twice.",
        file=file,
        number=number,
        line=line[:80],
    )


def check_sections(sections: Sections, file: str) -> None:
    """Hold every section, key and value against the documented ones (`keys.py`).

    Raises:
        ConfigError: names the first that is not, and the nearest that is.
    """
    for section, values in sections.items():
        if section not in KEYS:
            _refuse_key(file, f"[{section}]", [f"[{known}]" for known in KEYS])
        for key, value in values.items():
            if key not in KEYS[section]:
                everywhere = [f"[{s}] {k}" for s, keys in KEYS.items() for k in keys]
                _refuse_key(file, f"[{section}] {key}", everywhere)
            if not KEYS[section][key].accepts(value):
                raise ConfigError(
                    "{file}: {key} is {found}; it must be {expected}.",
                    file=file,
                    key=f"[{section}] {key}",
                    found=repr(value)[:80],
                    expected=KEYS[section][key].allowed,
                )


def _refuse_key(file: str, key: str, known: list[str]) -> None:
    raise ConfigError(
        "{file}: there is no key {key}; did you mean {near}?",
        file=file,
        key=key,
        near=difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0],
    )


def _kind(sections: Sections, file: str) -> Kind:
    quant_type = sections.get(_COMMON, {}).get("quant_type")
    if quant_type == "DYNAMIC_QUANT" and "ascend_context" not in sections:
        return "lite_cpu"
    on_the_fly = sections.get(_WEIGHT, {}).get("dequant_strategy") == "ON_THE_FLY"
    provider = sections.get("ascend_context", {}).get("provider")
    if quant_type == "WEIGHT_QUANT" and on_the_fly and provider == "ge":
        return "ascend"
    raise ConfigError(
        "{file}: {problem}",
        hint="Start from a shipped recipe: ascend_on_the_fly_quant or lite_cpu_int8.",
        file=file,
        problem=_(
            "glmlite runs WEIGHT_QUANT with dequant_strategy=ON_THE_FLY and provider=ge, or "
            "DYNAMIC_QUANT without [ascend_context]; other combinations convert to graphs that "
            "do not load."
        ),
    )
