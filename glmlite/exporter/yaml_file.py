"""YAML that a user wrote: no tags, no key twice, no bombs, errors with a line number."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from glmlite.errors import ConfigError
from glmlite.regular_file import decode, read_regular

MAX_BYTES = 1 << 18
# Of values, those that aliases repeat counted every time: MindFormers' files have about 400.
_MAX_VALUES = 100_000
_MAX_BITS = 64


class _BoundedLoader(yaml.SafeLoader):
    """A SafeLoader that refuses equal keys, of which PyYAML lets the last win, and huge numbers."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _fault(key, f"{key.value} occurs twice")
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        """An integer that messages can show and other code can count with."""
        value = self.construct_yaml_int(node)
        if value.bit_length() > _MAX_BITS:
            raise _fault(node, "a number of that many digits")
        return int(value)


_BoundedLoader.add_constructor("tag:yaml.org,2002:int", _BoundedLoader.construct_integer)


def read_yaml(path: Path) -> dict[Any, Any]:
    """The mapping that a YAML file holds.

    Raises:
        ConfigError: unreadable, too large, not YAML, or no mapping.
    """
    return parse_mapping(read_yaml_text(path), path.name)


def read_yaml_text(path: Path) -> str:
    """What a recipe's file holds, not parsed.

    Raises:
        ConfigError: unreadable, no regular file, too large, or no UTF-8 text.
    """
    try:
        content = read_regular(path, MAX_BYTES)
        if len(content) > MAX_BYTES:
            raise ConfigError("{file} is too large for a recipe.", file=path.name)
        return decode(content)
    except OSError as error:
        raise ConfigError(
            "{file} cannot be read: {reason}.",
            file=path.name,
            reason=error.strerror or type(error).__name__,
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError("{file} is not UTF-8 text.", file=path.name) from error


def parse_mapping(
    content: str, label: str, example: str = "export_configs/glm2_6b.yaml"
) -> dict[Any, Any]:
    """The mapping that YAML text holds.

    Args:
        content: the text.
        label: where it stands, for messages.
        example: recipe of the same kind, for whoever has to start again.

    Raises:
        ConfigError: not YAML, or no mapping.
    """
    value = parse_yaml(content, label)
    if not isinstance(value, dict):
        raise ConfigError(
            "{file} is no recipe: it holds no `key: value` lines.",
            hint="Start from a shipped one, such as {example}.",
            file=label,
            example=example,
        )
    return value


def parse_yaml(content: str, label: str) -> Any:
    """One YAML value; `label` says in messages where it stands.

    Raises:
        ConfigError: not YAML, or more values than any recipe has.
    """
    loader = None
    try:
        loader = _BoundedLoader(content)
        node = loader.get_single_node()
        if node is None:
            return None
        if _count_values(node, {}) > _MAX_VALUES:
            raise _fault(node, f"more than {_MAX_VALUES} values")
        return loader.construct_document(node)
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
    finally:
        if loader is not None:
            loader.dispose()


def _count_values(node: yaml.Node, counted: dict[int, int]) -> int:
    """Values below a node and itself, as if every alias were written out.

    Aliases of aliases double with every line ("billion laughs"), and whoever walks or copies such
    a value visits it as often as it is named.
    """
    known = counted.get(id(node))
    if known is not None:
        if known == 0:
            raise _fault(node, "a value that holds itself")
        return known
    counted[id(node)] = 0
    total = 1
    if isinstance(node, yaml.SequenceNode):
        total += sum(_count_values(child, counted) for child in node.value)
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            total += sum(_count_values(child, counted) for child in pair)
    counted[id(node)] = total
    return total


def _fault(node: yaml.Node, problem: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
