"""YAML that a user wrote: no tags, no key twice, errors with a line number."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from glmlite.errors import ConfigError

MAX_BYTES = 1 << 20


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML lets the last of two equal keys win, which hides an edit."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value} occurs twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[Any, Any]:
    """The mapping that a YAML file holds.

    Raises:
        ConfigError: unreadable, too large, not YAML, or no mapping.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError("{file} is too large for a recipe.", file=path.name)
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            "{file} cannot be read: {reason}.",
            file=path.name,
            reason=error.strerror or type(error).__name__,
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError("{file} is not UTF-8 text.", file=path.name) from error
    value = parse_yaml(content, path.name)
    if not isinstance(value, dict):
        raise ConfigError(
            "{file} is no recipe: it holds no `key: value` lines.",
            hint="Start from a shipped one, such as export_configs/glm2_6b.yaml.",
            file=path.name,
        )
    return value


def parse_yaml(content: str, label: str) -> Any:
    """One YAML value; `label` says in messages where it stands.

    Raises:
        ConfigError: not YAML.
    """
    try:
        return yaml.load(content, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        raise ConfigError(
            "{file}, line {line}: {reason}.",
            hint="Recipes are YAML; text that holds `: ` or `#` needs quotes.",
            file=label,
            line=error.problem_mark.line + 1 if error.problem_mark else 1,
            reason=error.problem or "?",
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(
            "{file} is not valid YAML: {reason}.", file=label, reason=str(error)[:200]
        ) from error
