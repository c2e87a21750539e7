"""A run-time ini: by file or by name, parsed, its own section taken out."""

from __future__ import annotations

import configparser
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from glmlite.errors import ConfigError, EngineError
from glmlite.exporter.recipes import find_recipe
from glmlite.runtime.engines.lite_config.keys import GLMLITE_SECTION, KEYS

Sections = Mapping[str, Mapping[str, str]]
CACHES = ("device", "variables", "host")
_MAX_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class LiteConfig:
    """What an ini says.

    Attributes:
        path: the file.
        sections: section -> key -> value, for Lite.
        cache: where the cache lives: one of `CACHES`; None where the file does not say.
    """

    path: Path
    sections: Sections
    cache: str | None = None

    @property
    def provider(self) -> str | None:
        """Lite's Ascend provider, e.g. "ge"."""
        return self.sections.get("ascend_context", {}).get("provider")

    def merged(self, added: Sections) -> Sections:
        """The sections for Lite with `added` put in; what the file says itself wins."""
        names = [*self.sections, *(name for name in added if name not in self.sections)]
        return {
            name: {**added.get(name, {}), **self.sections.get(name, {})}
            for name in names
            if added.get(name) or self.sections.get(name)
        }


def find_lite_config(name: str) -> Path:
    """The file of an ini that is named by path or as a recipe ("ascend_ge").

    Raises:
        EngineError: there is none.
    """
    if os.path.isfile(name):
        return Path(name)
    try:
        return find_recipe("runtime", name)
    except ConfigError as error:
        raise EngineError.from_dict(vars(error)) from error


def load_lite_config(name: str) -> LiteConfig:
    """Read and check an ini: Lite itself passes over one that it cannot parse.

    Raises:
        EngineError: it is no ini file, or its section [glmlite] says what glmlite does not know.
    """
    path = find_lite_config(name)
    parser = configparser.ConfigParser(
        interpolation=None, strict=True, delimiters=("=",), default_section=""
    )
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise EngineError("The engine's configuration {path} is too large.", path=str(path))
        with path.open(encoding="utf-8") as file:
            parser.read_file(file)
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        raise EngineError(
            "The engine's configuration {path} is no ini file: {error}",
            path=str(path),
            error=str(error),
        ) from error
    if not parser.sections():
        raise EngineError("The engine's configuration {path} has no section.", path=str(path))
    sections = {name: dict(parser[name]) for name in parser.sections()}
    for values in sections.values():
        for key, value in values.items():
            if "\n" in value:
                raise EngineError(
                    "The engine's configuration {path} is no ini file: {error}",
                    path=str(path),
                    error=f"{key} runs over several lines",
                )
    own = sections.pop(GLMLITE_SECTION, {})
    for key, value in own.items():
        if key not in KEYS[GLMLITE_SECTION] or not KEYS[GLMLITE_SECTION][key].accepts(value):
            raise EngineError(
                "{path}: [glmlite] {key}={value} is not known; it can say: {known}.",
                path=str(path),
                key=key,
                value=value[:80],
                known="; ".join(f"{k}={v.allowed}" for k, v in KEYS[GLMLITE_SECTION].items()),
            )
    return LiteConfig(path, sections, own.get("cache"))


def render(sections: Sections) -> str:
    """The text of an ini for Lite; empty for no section."""
    lines = []
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{key}={value}" for key, value in values.items()), ""]
    return "\n".join(lines)
