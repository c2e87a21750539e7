"""`base_config:` of MindFormers' YAMLs: other files that a file builds on.

The files that it lists are taken one after the other, top-level keys of a later one in place of an
earlier one's; then what the file says itself goes over them, section by section. Source:
mindformers/tools/register/config.py of MindFormers 0.8 to 1.0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glmlite.errors import ConfigError
from glmlite.exporter.yaml_file import read_yaml

KEY = "base_config"
_MAX_DEPTH = 8
_MAX_FILES = 64


def read_with_includes(path: Path) -> dict[Any, Any]:
    """The mapping that a YAML file holds, with the files that its `base_config` names.

    Paths are relative to the file that names them, and may not leave the first file's folder.

    Raises:
        ConfigError: a file cannot be read or lies elsewhere, or they include each other.
    """
    try:
        folder = path.resolve().parent
    except (OSError, RuntimeError):  # a loop of links: reading it says so
        return read_yaml(path)
    return _Includes(folder).read(path, 0)


class _Includes:
    """One tree of files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = 0

    def read(self, path: Path, depth: int) -> dict[Any, Any]:
        data = read_yaml(path)
        if KEY not in data:
            return data
        named = data.pop(KEY)
        names = named if isinstance(named, list) else [named]
        merged: dict[Any, Any] = {}
        for name in names:
            merged |= self.read(self._locate(path, name, depth), depth + 1)
        return _merge(data, merged)

    def _locate(self, path: Path, name: object, depth: int) -> Path:
        self._files += 1
        if depth >= _MAX_DEPTH or self._files > _MAX_FILES:
            raise ConfigError(
                "{file}: base_config includes more than {count} files, or files that include each "
                "other.",
                hint="Copy what they say into one file.",
                file=path.name,
                count=_MAX_FILES,
            )
        if not isinstance(name, str) or not name.isprintable():
            raise ConfigError(
                "{file}: base_config is {found}; it must be {expected}.",
                file=path.name,
                found=ascii(name)[:80],
                expected="FILE.yaml | [FILE.yaml, …]",
            )
        found = path.parent / name
        try:
            inside = found.resolve().is_relative_to(self._folder)
        except (OSError, RuntimeError):
            inside = False
        if not inside:
            raise ConfigError(
                "{file}: base_config names {found}, which leads out of the folder {folder}.",
                hint="Copy that file into the folder, or copy what it says.",
                file=path.name,
                found=name[:200],
                folder=self._folder.name,
            )
        return found


def _merge(own: dict[Any, Any], base: dict[Any, Any]) -> dict[Any, Any]:
    """`base` with the values of `own` over it; sections of both are merged."""
    result = dict(base)
    for key, value in own.items():
        below = result.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            value = _merge(value, below)
        result[key] = value
    return result
