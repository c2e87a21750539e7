"""What an app gets from `import glmlite`."""

from __future__ import annotations

import importlib.util
import inspect
import types
import typing

import pytest

import glmlite
import glmlite.compat


@pytest.mark.parametrize("name", [name for name in glmlite.__all__ if name != "__version__"])
def test_every_name_is_documented_and_its_types_can_be_read(name: str) -> None:
    """Frameworks that build forms or command lines from functions read them so."""
    public = getattr(glmlite, name)
    assert inspect.getdoc(public)
    # A submodule of the same name would take the place of the function once it is imported.
    assert importlib.util.find_spec(f"glmlite.{name}") is None
    if inspect.isfunction(public):
        hints = typing.get_type_hints(public)
        assert "return" in hints
        assert set(inspect.signature(public).parameters) <= set(hints)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = glmlite.nothing


@pytest.mark.parametrize("module", [glmlite, glmlite.compat])
def test_completion_shows_what_there_is(module: types.ModuleType) -> None:
    shown = dir(module)
    assert {name for name in shown if not name.startswith("__")} <= set(module.__all__)
    assert {*module.__all__, "__doc__", "__file__", "__name__"} <= set(shown)
    assert len(shown) == len(set(shown))
