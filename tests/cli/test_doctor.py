"""Interpreters, version pairs, advice."""

from __future__ import annotations

import json
import os
import sys

import pytest

from glmlite.cli.diagnosis import (
    Candidate,
    advise,
    find_interpreters,
    find_pairs,
    version_key,
)
from glmlite.runtime.engines.interpreter import Interpreter


def candidate(name: str, version: str, **packages: str | None) -> Candidate:
    named = {key.replace("_", "-"): value for key, value in packages.items()}
    return Candidate(name, "PATH", Interpreter(name, version, "Linux-x86_64", False, named))


NEW = candidate("new", "3.11.7", mindspore="2.10.0", onnxruntime="1.22", onnx="1.16")
OLD = candidate("old", "3.7.16", mindspore="2.0.0", mindspore_lite="2.0.0")
BARE = candidate("bare", "3.11.7")


@pytest.mark.parametrize(
    ("version", "key"),
    [("2.10.0", (2, 10, 0)), ("2.0.0rc1", (2, 0, 0)), ("2.3.1+cpu", (2, 3, 1)), ("?", ())],
)
def test_versions_compare_as_numbers(version, key):
    assert version_key(version) == key


def test_a_mindir_opens_in_nothing_older():
    found = {(p.exporter, p.runner, p.engine): p for p in find_pairs([NEW, OLD])}
    fits = {key: (pair.fits, pair.fits_float16) for key, pair in found.items()}
    assert fits == {
        ("new", "new", "mindspore"): (True, True),
        ("new", "old", "mindspore"): (False, False),
        ("new", "old", "lite"): (False, False),
        ("old", "new", "mindspore"): (True, False),
        ("old", "old", "mindspore"): (True, True),
        ("old", "old", "lite"): (True, True),
    }


def advice(*candidates: Candidate) -> list[tuple[str, bool]]:
    found = advise(candidates, find_pairs(candidates))
    return [(item.command, item.needed) for item in found]


def test_advice():
    assert advice(NEW, OLD) == []
    assert advice(BARE)[0] == ("pip install 'glmlite[mindspore]'", True)
    assert advice(candidate("x", "3.13.0"))[0] == ("make toolchain", True)
    assert ("pyenv install 3.7 && make toolchain", False) in advice(NEW)
    assert ("make toolchain", False) in advice(NEW, candidate("bare", "3.7.16"))
    only_lite = candidate("lite", "3.7.16", mindspore_lite="2.0.0")
    assert ("make toolchain", False) in advice(NEW, only_lite)
    assert ("pip install 'glmlite[onnx]'", False) in advice(OLD)


def test_advice_on_onnx():
    both = {"onnxruntime": "1.31.0", "onnx": "1.20"}
    without_mindspore = advice(candidate("x", "3.11.7", **both))
    assert not any(needed for _command, needed in without_mindspore)
    assert advice(candidate("x", "3.11.7", **both | {"onnxruntime": "1.21.1"}), OLD) == [
        ("pip install -U 'onnxruntime>=1.22'", False)
    ]
    found = advice(candidate("x", "3.11.7", onnxruntime="1.31.0"), OLD)
    assert found == [("pip install 'glmlite[onnx]'", False)]


def test_the_same_interpreter_is_listed_once(tmp_path, monkeypatch):
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(os.path.realpath(sys.executable))
    found = find_interpreters(os.path.realpath(sys.executable), str(link), imports=False)
    assert [c.origin for c in found] == ["this"]


def test_what_is_no_python_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    monkeypatch.chdir(tmp_path)
    found = find_interpreters(sys.executable, "/bin/true", imports=False)
    problem = next(c for c in found if c.origin == "--toolchain")
    assert problem.found is None
    assert "/bin/true" in problem.problem


def test_imports_are_tried(monkeypatch, tmp_path):
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (found,) = find_interpreters(sys.executable, None, imports=True)
    assert found.problem == ""


def test_the_page_and_the_json(glmlite_command, tmp_path):
    bare = {"PYENV_ROOT": str(tmp_path), "PATH": "/usr/bin:/bin"}
    page = glmlite_command("doctor", **bare)
    assert page.returncode == 0
    for text in ("This machine", "Interpreters", sys.executable, "this one"):
        assert text in page.stdout
    data = json.loads(glmlite_command("doctor", "--json", **bare).stdout)
    assert data["interpreters"][0]["python"] == sys.executable
    assert data["host"]["cores"] >= 1
    keys = {"host", "interpreters", "mindir_pairs", "missing", "onnx", "can_export"}
    assert set(data) == keys
    packages = data["interpreters"][0]["found"]["packages"]
    assert data["onnx"]["onnxruntime"] == packages["onnxruntime"]
    assert 1 <= data["onnx"]["threads"] <= data["host"]["cores"]
