"""The keys a recipe may have: unknown ones are refused, overrides are put in their place."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from glmlite.errors import ConfigError

# None: a value. A mapping: keys below it.
TREE: Mapping[str, Any] = {
    "model": {
        "checkpoint": None,
        "adapter": None,
        "family": None,
        "tokenizer": None,
        "dtype": None,
        "preset": None,
        "rope": {"kind": None, "ratio": None},
    },
    "export": {
        "output": None,
        "format": None,
        "flavor": None,
        "batch_size": None,
        "cache_length": None,
        "prefill_tokens": None,
        "score_tokens": None,
        "parity": None,
    },
}
_SHORT = {leaf: f"{section}.{leaf}" for section, keys in TREE.items() for leaf in keys}


def _paths(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    result = []
    for key, below in tree.items():
        result.append(prefix + key)
        if below:
            result += _paths(below, f"{prefix}{key}.")
    return result


KNOWN = tuple(_paths(TREE))


def check_keys(
    data: Mapping[Any, Any], file: str, tree: Mapping[str, Any] = TREE, prefix: str = ""
) -> None:
    """Refuse keys that no recipe has, and values where there should be keys.

    Raises:
        ConfigError: names the key's full path, the file and the nearest known key.
    """
    for key, value in data.items():
        path = f"{prefix}{key}"
        if key not in tree:
            raise unknown_key(path, file)
        below = tree[key]
        if below is None or value is None:
            continue
        if not isinstance(value, Mapping):
            raise ConfigError(
                "{file}: {key} is {found}; it must hold the keys {known}.",
                file=file,
                key=path,
                found=repr(value)[:80],
                known=", ".join(below),
            )
        check_keys(value, file, below, f"{path}.")


def unknown_key(path: str, file: str) -> ConfigError:
    """The error for a key that no recipe has."""
    leaf = path.rpartition(".")[2]
    # A right name in the wrong section is nearer than a similar name in the right one.
    near = [known for known in KNOWN if known.rpartition(".")[2] == leaf]
    near += difflib.get_close_matches(path, KNOWN, n=1, cutoff=0.0)
    return ConfigError(
        "{file}: there is no key {key}; did you mean {near}?",
        hint="All keys: {known}.",
        file=file,
        key=path if path.isprintable() else ascii(path),
        near=near[0],
        known=", ".join(key for key in KNOWN if "." in key),
    )


def parse_overrides(settings: Sequence[str]) -> dict[str, Any]:
    """`["export.cache_length=[512, 2048]", …]` to full keys and YAML values.

    Raises:
        ConfigError: no `=`, an unknown key, or a value that is not YAML.
    """
    from glmlite.exporter.yaml_file import parse_yaml

    result: dict[str, Any] = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        key = key.strip()
        if not separator:
            raise ConfigError(
                "--set {setting}: it must read key=value.",
                hint="For example: --set export.cache_length=512",
                setting=setting,
            )
        if key not in KNOWN:
            raise unknown_key(key, "--set")
        if not value.strip():
            raise ConfigError(
                "--set {key}= has no value.",
                hint="Give one, or null for the default: --set {key}=null",
                key=key,
            )
        result[key] = parse_yaml(value, f"--set {key}")
    return result


def merge_overrides(
    data: Mapping[str, Any], overrides: Mapping[str, Any] | Sequence[str]
) -> dict[str, Any]:
    """A copy of a checked recipe with overrides in their places; see `load_config`.

    Raises:
        ConfigError: an unknown key.
    """
    result: dict[str, Any] = _copy(data)
    if not isinstance(overrides, Mapping):
        if isinstance(overrides, str):
            overrides = [overrides]
        overrides = parse_overrides(overrides)
    for key, value in overrides.items():
        path = _SHORT.get(key, key)
        if path not in KNOWN:
            raise unknown_key(path, "--set")
        *sections, leaf = path.split(".")
        nested: dict[str, Any] = {leaf: value}
        for section in reversed(sections):
            nested = {section: nested}
        check_keys(nested, "--set")
        _merge(result, nested)
    return result


def _copy(data: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _copy(v) if isinstance(v, Mapping) else v for k, v in data.items()}


def _merge(target: dict[str, Any], source: Mapping[str, Any]) -> None:
    for key, value in source.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = _copy(value) if isinstance(value, Mapping) else value
