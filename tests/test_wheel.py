"""The wheel holds what the source checkout has beside the package."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every file of a freshly built wheel."""
    pytest.importorskip("hatchling")
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize("kind", ["export_configs", "quant", "runtime"])
def test_recipes_ship_in_the_wheel(names: set[str], kind: str) -> None:
    recipes = [p for p in (ROOT / kind).iterdir() if p.is_file()]
    assert recipes
    for recipe in recipes:
        assert f"glmlite/recipes/{kind}/{recipe.name}" in names


def test_what_is_no_module_ships_too(names: set[str]) -> None:
    package = ROOT / "glmlite"
    wanted = [
        *package.glob("locale/zh/*.json"),
        *package.glob("demo/checkpoint/*"),
        *package.glob("toolchain/*.py"),
    ]
    assert {p.relative_to(ROOT).as_posix() for p in wanted} <= names
    assert not any(name.startswith("tests/") for name in names)
