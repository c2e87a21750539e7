"""Files that users name: regular ones, and no more of them than is allowed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from glmlite.errors import ConfigError
from glmlite.exporter import yaml_file
from glmlite.exporter.yaml_file import read_yaml
from glmlite.quant.recipe import load_recipe
from glmlite.regular_file import decode, read_regular


def test_what_is_no_regular_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that nobody writes to would block; /dev/zero has the size 0 and no end."""
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        for read in (lambda p: read_regular(p, 10), read_yaml):
            with pytest.raises(ConfigError, match=f"^{path} is not a regular file"):
                read(path)
        monkeypatch.setattr("glmlite.quant.recipe.find_recipe", lambda kind, name, p=path: p)
        with pytest.raises(ConfigError, match="is not a regular file"):
            load_recipe("any")
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path, 10)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "nowhere", 10)


def test_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.yaml"
    path.write_bytes(b"a: " + b"1" * 20)
    assert read_regular(path, 5) == b"a: 111"
    monkeypatch.setattr(yaml_file, "MAX_BYTES", 22)
    with pytest.raises(ConfigError, match="too large for a recipe"):
        read_yaml(path)
    monkeypatch.setattr(yaml_file, "MAX_BYTES", 23)
    assert list(read_yaml(path)) == ["a"]


def test_line_ends() -> None:
    assert decode(b"\xef\xbb\xbfa\r\nb\rc\n", "utf-8-sig") == "a\nb\nc\n"
