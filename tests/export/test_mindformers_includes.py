"""`base_config`: a YAML that builds on others, as MindFormers merges them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from glmlite.errors import ConfigError
from glmlite.exporter.config import load_config
from glmlite.exporter.includes import read_with_includes
from tests.export.mindformers_files import EXPORT_10, write_workspace


def write(folder: Path, **files: str) -> Path:
    """`name="text"` becomes folder/name.yaml, two underscores a folder; returns main.yaml."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "main.yaml"


def test_a_file_in_pieces_is_the_file(tmp_path, monkeypatch):
    """The 1.0 file cut into one file for each section, and a small one that changes two values."""
    monkeypatch.chdir(tmp_path)
    whole = write_workspace(tmp_path, EXPORT_10)
    sections = yaml.safe_load(EXPORT_10)
    (tmp_path / "base").mkdir()
    for name, section in sections.items():
        (tmp_path / "base" / f"{name}.yaml").write_text(yaml.safe_dump({name: section}))
    names = [f"base/{name}.yaml" for name in sections]
    own = {"base_config": names, "infer": {"infer_seq_length": 64}}
    own["model"] = {"model_config": {"seq_length": 64}}
    (tmp_path / "pieces.yaml").write_text(yaml.safe_dump(own))
    one, other = load_config(whole), load_config(tmp_path / "pieces.yaml")
    assert other.export.cache_length == (64,)
    assert other.export.output == one.export.output
    assert other.model.sizes.config == one.model.sizes.config
    assert other.model.checkpoint == one.model.checkpoint


def test_later_files_and_the_file_itself_win(tmp_path):
    path = write(
        tmp_path,
        main="base_config: [x/a.yaml, b.yaml]\nm: {own: 1}\n",
        x__a="base_config: c.yaml\nm: {a: 1}\nn: {a: 1}\nk: a\n",
        x__c="k: c\nl: {c: 1}\n",
        b="n: {b: 1}\n",
    )
    assert read_with_includes(path) == {
        "m": {"own": 1, "a": 1},  # sections of the file itself are merged,
        "n": {"b": 1},  # those of two included files are not: as in MindFormers
        "k": "a",
        "l": {"c": 1},
    }


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"main": "base_config: ../out.yaml\n"}, "leads out of the folder"),
        ({"main": "base_config: /etc/passwd\n"}, "leads out of the folder"),
        ({"main": "base_config: link.yaml\n"}, "leads out of the folder"),
        ({"main": "base_config: x/a.yaml\n", "x__a": "base_config: ../../out.yaml"}, "leads out"),
        ({"main": "base_config: main.yaml\n"}, "include each other"),
        ({"main": "base_config: [a.yaml]\n", "a": "base_config: [main.yaml]"}, "include each"),
        ({"main": f"base_config: [{'a.yaml, ' * 70}]\n", "a": "k: 1"}, "more than 64 files"),
        ({"main": "base_config: [3]\n"}, "base_config is 3"),
        ({"main": 'base_config: "a\\x1b.yaml"\n'}, "base_config is"),
        ({"main": "base_config: none.yaml\n"}, "none.yaml cannot be read"),
        ({"main": "base_config: a.yaml\n", "a": "- 1\n"}, "a.yaml is no recipe"),
    ],
)
def test_includes_that_are_refused(tmp_path, files, said):
    (tmp_path / "out.yaml").write_text("k: secret\n")
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "link.yaml").symlink_to(tmp_path / "out.yaml")
    with pytest.raises(ConfigError, match=said) as error:
        read_with_includes(write(folder, **files))
    assert "secret" not in str(error.value)
    assert "\x1b" not in str(error.value)
