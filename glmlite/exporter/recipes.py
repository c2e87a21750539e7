"""Recipes: the files a user edits, found by path or by name."""

from __future__ import annotations

import difflib
from pathlib import Path

from glmlite.errors import ConfigError

SUFFIXES: dict[str, tuple[str, ...]] = {
    "export_configs": (".yaml", ".yml"),
    "quant": (".yaml", ".yml", ".cfg"),
    "runtime": (".yaml", ".yml", ".ini"),
}
_PACKAGE = Path(__file__).resolve().parent.parent
_SCHEME = "glmlite://"


def recipe_folder(kind: str) -> Path:
    """Where the recipes of a kind lie: inside an installed package, or beside it in a checkout."""
    installed = _PACKAGE / "recipes" / kind
    return installed if installed.is_dir() else _PACKAGE.parent / kind


def list_recipes(kind: str) -> dict[str, Path]:
    """All shipped recipes of a kind ("export_configs", "quant", "runtime"), by name."""
    folder = recipe_folder(kind)
    if not folder.is_dir():
        return {}
    files = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES[kind] and p.is_file())
    return {path.stem: path for path in files}


def find_recipe(kind: str, name: str | Path) -> Path:
    """A recipe's file.

    Args:
        kind: "export_configs", "quant" or "runtime".
        name: a file, or the name of a shipped recipe with or without its suffix. A file wins.

    Raises:
        ConfigError: neither exists; shipped recipes are listed and the nearest one is named.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    known = list_recipes(kind)
    given = path.stem if path.suffix in SUFFIXES[kind] else path.name
    if str(name) == path.name and given in known:
        found = known[given]
        if path.suffix in ("", found.suffix):
            return found
    near = difflib.get_close_matches(given, known, n=1)
    if near:
        raise ConfigError(
            "There is no recipe {name}: no such file, and no shipped recipe of that name. "
            "Did you mean {near}?",
            name=name,
            near=near[0],
        )
    raise ConfigError(
        "There is no recipe {name}: no such file, and no shipped recipe of that name.",
        hint="Shipped recipes: {known}.",
        name=name,
        known=", ".join(known) or "-",
    )


def resolve_path(value: str, key: str) -> Path:
    """A path of a recipe: relative to the current directory, or `glmlite://…` inside the package.

    Args:
        value: as written in the recipe.
        key: the recipe's key, for messages.

    Raises:
        ConfigError: `glmlite://` names nothing that ships with the package.
    """
    if not value.startswith(_SCHEME):
        return Path(value).expanduser()
    path = (_PACKAGE / value[len(_SCHEME) :]).resolve()
    if not path.is_relative_to(_PACKAGE) or not path.exists():
        raise ConfigError(
            "{key}: {value} does not ship with glmlite.",
            hint="Install glmlite again, or name a folder of your own.",
            key=key,
            value=value,
        )
    return path
