"""Every `glmlite …` command in a message, a hint, a translation or a recipe is one that exists."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from glmlite.cli.app import glmlite, summaries
from glmlite.errors import ConfigError
from glmlite.exporter.keys import parse_overrides
from glmlite.exporter.recipes import find_recipe, list_recipes

ROOT = Path(__file__).parents[2]
KINDS = ("export_configs", "quant", "runtime")
# A command ends with its quotation, its sentence or its line, or where the next one begins.
_END = re.compile(r"[`\n()。；，]|[.,;:](?=\s|$)| \(|(?=\bglmlite [a-z])")
# After the name of a command: what only a command line has there, and prose has not.
_ARGUMENT = re.compile(r"--\w|…|(BUNDLE|CHECKPOINT|DIR|FILE|PATH)\b|\w+/")
# Words that follow: prose again.
_PROSE = {"or", "and", "makes", "writes", "with"}
# What a user would put in the place of these.
_VALUES = {"NAME": "glm2_6b", "YAML": "demo", "{config}": "glm2_6b"}


@dataclasses.dataclass(frozen=True)
class Text:
    """A text that users may read, and where it stands."""

    where: str
    text: str


def texts() -> Iterator[Text]:
    for path in sorted((ROOT / "glmlite").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield Text(f"{path.relative_to(ROOT)}:{node.lineno}", node.value)
    for path in sorted((ROOT / "glmlite" / "locale").rglob("*.json")):
        for chinese in json.loads(path.read_text(encoding="utf-8")).values():
            yield Text(path.name, chinese)
    for path in (path for kind in KINDS for path in list_recipes(kind).values()):
        yield Text(path.name, path.read_text(encoding="utf-8"))


def command_lines(text: str) -> Iterator[list[str]]:
    """The words behind `glmlite` of each command in a text; prose about glmlite has none."""
    for found in re.finditer(r"(?<![\w./-])glmlite (?=[a-z])", text):
        rest = text[found.end() :]
        end = _END.search(rest)
        words = (rest[: end.start()] if end else rest).split()
        quoted = text[: found.start()].endswith("`")
        is_command = words and words[0] in summaries()
        if is_command or quoted or (words[1:] and _ARGUMENT.match(words[1])):
            yield _split(" ".join(words))


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # the apostrophe of a sentence that goes on
        return line.split()


def check(words: list[str]) -> None:
    """Parse a command line as click does, but for what may be missing in an example."""
    context = click.Context(glmlite)
    command: click.Command | None = glmlite
    name, rest = "glmlite", words
    while isinstance(command, click.Group):
        if not rest:
            return
        name, *rest = rest
        command = command.get_command(context, name)
        assert command is not None, f"there is no command {name}"
    assert command is not None
    until = next((i for i, word in enumerate(rest) if word in _PROSE), len(rest))
    given = [_VALUES.get(word, word) for word in rest[:until]]
    values, _positional, _order = command.make_parser(click.Context(command)).parse_args(given)
    settings = values.get("assignments", values.get("settings")) or []
    parse_overrides([setting for setting in settings if setting != "KEY=VALUE"])
    for option in command.params:
        found = values.get(option.name or "")
        if isinstance(option.type, click.Choice) and isinstance(found, str):
            assert found in option.type.choices, f"{found} is none of {option.type.choices}"
    if isinstance(values.get("config"), str) and values["config"].islower():
        find_recipe("export_configs", values["config"])
    for recipe in values.get("recipes") or []:
        if recipe.islower():
            find_recipe("quant", recipe)


def test_every_command_exists() -> None:
    found, wrong = 0, []
    for text in texts():
        for words in command_lines(text.text):
            found += 1
            try:
                check(words)
            except (AssertionError, click.UsageError, ConfigError) as error:
                said = error.format_message() if isinstance(error, click.UsageError) else error
                wrong.append(f"{text.where}: glmlite {' '.join(words)}: {said}")
    assert found > 100
    assert not wrong, "\n".join(["", *wrong])


@pytest.mark.parametrize(
    "text",
    [
        "Make it so: glmlite export --format onnx",
        "Make it so: glmlite exprot --config demo",
        "`glmlite frobnicate` shows it.",
        "Try it: glmlite bench BUNDLE --thread 8, or not.",
        "glmlite export … --set export.fromat=onnx",
        "glmlite quantize BUNDLE --recipe cpu_int5 --output DIR",
        "glmlite export --config glm4_6b",
        "glmlite rank-table build --server-ip IP",
        "glmlite generate BUNDLE --engine fast",
        "导出：glmlite export --format onnx。",
    ],
)
def test_what_does_not_exist_is_found(text: str) -> None:
    (words,) = command_lines(text)
    with pytest.raises((AssertionError, click.UsageError, ConfigError)):
        check(words)


def test_prose_is_no_command() -> None:
    for text in (
        "this glmlite reads version 1",
        "glmlite takes {limit} at most.",
        "glmlite merges LORA only.",
        "what glmlite does not open",
        "Install glmlite again, or name a folder of your own.",
    ):
        assert list(command_lines(text)) == []
