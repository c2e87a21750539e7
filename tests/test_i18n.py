"""Every message that a user can see exists in Chinese, with the same placeholders."""

from __future__ import annotations

import ast
import dataclasses
import functools
import json
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from glmlite import errors, i18n

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "glmlite"
CHINESE = SOURCE / "locale" / "zh"
CLICK = "click.json"

ERRORS = {name for name in vars(errors) if name.endswith("Error")} | {"ToolchainError"}
# Parameters that the functions themselves have: as placeholders they would collide.
RESERVED = {"message", "hint"}


@dataclasses.dataclass(frozen=True)
class Message:
    """One message in the source; `text` is None where it is no literal."""

    text: str | None
    where: str
    is_error: bool = False
    given: frozenset[str] | None = None


def literals(node: ast.expr) -> list[str | None]:
    """The texts that an expression can be; None for one that cannot be read from the source."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.IfExp):
        return literals(node.body) + literals(node.orelse)
    return [None]


def called(node: ast.Call) -> str:
    function = node.func
    return getattr(function, "id", getattr(function, "attr", ""))


def messages_of(path: Path) -> Iterator[Message]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = called(node)
        if name != "_" and name not in ERRORS:
            continue
        where = f"{path.relative_to(ROOT)}:{node.lineno}"
        names = [keyword.arg for keyword in node.keywords if keyword.arg != "hint"]
        given = None if None in names else frozenset(filter(None, names))
        texts = literals(node.args[0])
        for keyword in node.keywords:
            if keyword.arg == "hint" and name in ERRORS:
                texts += literals(keyword.value)
        for text in texts:
            if text != "":
                yield Message(text, where, name in ERRORS, given)


@functools.lru_cache
def all_messages() -> list[Message]:
    # errors.py and i18n.py pass on what others wrote.
    own = {SOURCE / "errors.py", SOURCE / "i18n.py", SOURCE / "toolchain" / "errors.py"}
    return [
        m for path in sorted(SOURCE.rglob("*.py")) if path not in own for m in messages_of(path)
    ]


def catalogues() -> dict[str, dict[str, str]]:
    return {
        p.name: json.loads(p.read_text(encoding="utf-8")) for p in sorted(CHINESE.glob("*.json"))
    }


def placeholders(text: str) -> set[str]:
    return {name for _text, name, _spec, _conversion in string.Formatter().parse(text) if name}


def test_messages_are_found_at_all():
    assert len(all_messages()) > 100


def test_every_message_is_a_literal():
    assert [m.where for m in all_messages() if m.text is None] == []


def test_every_message_is_translated():
    known = i18n.catalogue("zh")
    missing = [f"{m.where}: {m.text}" for m in all_messages() if m.text and m.text not in known]
    assert not missing, "\n".join(["not in glmlite/locale/zh/*.json:", *missing])


def test_translations_keep_the_placeholders():
    different = {
        (name, english): (placeholders(english), placeholders(chinese))
        for name, catalogue in catalogues().items()
        for english, chinese in catalogue.items()
        if placeholders(english) != placeholders(chinese)
    }
    assert different == {}


def test_every_placeholder_is_given_a_value():
    for message in all_messages():
        if message.text is None or message.given is None:
            continue
        # Without parameters `_` formats nothing, so braces may be plain text there.
        if message.given or message.is_error:
            assert placeholders(message.text) <= message.given, message
        assert not message.given & RESERVED, message


def test_no_translation_is_left_over():
    used = {m.text for m in all_messages()}
    unused = {
        name: sorted(set(catalogue) - used)
        for name, catalogue in catalogues().items()
        if name != CLICK and set(catalogue) - used
    }
    assert unused == {}


def test_the_same_message_has_one_translation():
    seen: dict[str, str] = {}
    for name, catalogue in catalogues().items():
        for english, chinese in catalogue.items():
            assert seen.setdefault(english, chinese) == chinese, (name, english)


def test_translations_are_chinese():
    for name, catalogue in catalogues().items():
        for english, chinese in catalogue.items():
            plain = "".join(part for part, *_field in string.Formatter().parse(english))
            words = re.findall("[A-Za-z]+", plain)
            # A command, or a name among placeholders, is the same in both languages.
            if chinese != english and len(words) > 1:
                assert any("\u4e00" <= c <= "\u9fff" for c in chinese), (name, english)


def test_clicks_messages_are_clicks():
    click = pytest.importorskip("click")
    folder = Path(click.__file__).parent
    constants = {
        node.value
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    older = {"No such option: {name}", "(Possible options: {possibilities})"}
    assert set(catalogues()[CLICK]) - constants - older == set()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"GLMLITE_LANG": "zh"}, "zh"),
        ({"GLMLITE_LANG": "en", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en"),
        ({}, "en"),
    ],
)
def test_language_follows_the_environment(monkeypatch, environment, expected):
    for name in ("GLMLITE_LANG", "LC_ALL", "LC_MESSAGES", "LANG", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(i18n.locale, "getlocale", lambda: (None, None))
    i18n.language.cache_clear()
    try:
        assert i18n.language() == expected
    finally:
        monkeypatch.undo()
        i18n.language.cache_clear()
