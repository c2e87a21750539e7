"""Where recipes are found: by name, by path, in an installed package."""

from __future__ import annotations

from pathlib import Path

import pytest

from glmlite.errors import ConfigError
from glmlite.exporter import recipes
from glmlite.exporter.recipes import find_recipe, list_recipes, resolve_path


def test_recipes_by_name_and_by_path(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="Did you mean glm2_6b"):
        find_recipe("export_configs", "glm2_6bb")
    with pytest.raises(ConfigError, match="glm3_6b_32k"):
        find_recipe("export_configs", "zzz")
    with pytest.raises(ConfigError):
        find_recipe("export_configs", "../export_configs/glm2_6b_x.yaml")
    assert list_recipes("quant") is not None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "glm2_6b").write_text("model: {}\n")
    assert find_recipe("export_configs", "glm2_6b") == Path("glm2_6b")  # a file wins


def test_installed_recipes_come_from_the_package(tmp_path, monkeypatch):
    folder = tmp_path / "glmlite" / "recipes" / "export_configs"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("model: {}\n")
    monkeypatch.setattr(recipes, "_PACKAGE", tmp_path / "glmlite")
    assert list(list_recipes("export_configs")) == ["mine"]


def test_package_paths():
    assert resolve_path("glmlite://model", "k").is_dir()
    for value in ("glmlite://nothing", "glmlite://../pyproject.toml", "glmlite:///etc/passwd"):
        with pytest.raises(ConfigError, match="does not ship"):
            resolve_path(value, "model.checkpoint")
    assert resolve_path("~/x", "k") == Path.home() / "x"
