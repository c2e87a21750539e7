"""Bundles that somebody damaged, or made to harm: refused before anything in them is used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import glmlite
from glmlite.bundle import Bundle
from glmlite.errors import BundleError, EngineError
from tests.engines.bundles import Bundles


@pytest.fixture
def copy(bundles: Bundles, tmp_path: Path) -> Path:
    """A bundle to spoil."""
    path = tmp_path / "bundle"
    shutil.copytree(bundles.export("prefix"), path)
    Bundle.open(path).verify()
    return path


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change the manifest."""
    file = path / "manifest.json"
    data = json.loads(file.read_text(encoding="utf-8"))
    change(data)
    file.write_text(json.dumps(data), encoding="utf-8")


def refused(path: Path, *words: str) -> None:
    """Neither the library nor an engine takes it; the message says why."""
    with pytest.raises(BundleError) as caught:
        Bundle.open(path)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    with pytest.raises(BundleError):
        glmlite.load(path, "reference")


@pytest.mark.parametrize(
    "name",
    ["../outside", "weights/../../outside", "/etc/hostname", "a//b", "./x", "", "..\\x", "a\0b"],
)
@pytest.mark.parametrize("where", ["files", "graph", "weights", "prefix"])
def test_paths_that_leave_the_folder(copy: Path, name: str, where: str) -> None:
    (copy.parent / "outside").write_text("secret")

    def change(data: Any) -> None:
        data["files"][name] = {"size": 6, "sha256": "0" * 64}
        if where == "graph":
            data["graphs"][0]["file"] = name
        elif where == "weights":
            data["weights"]["index"] = name
        elif where == "prefix":
            data["prefix_cache"] = name

    edit(copy, change)
    refused(copy, "path")


@pytest.mark.parametrize("target", ["outside", "inside"])
@pytest.mark.parametrize("pattern", ["*.mindir", "weights/data_0", "weights/index.json", "*.npy"])
def test_symbolic_link_to_a_file(copy: Path, pattern: str, target: str) -> None:
    file = next(copy.rglob(pattern) if "/" not in pattern else copy.glob(pattern))
    place = copy.parent / "elsewhere" if target == "outside" else file.with_name("other")
    file.rename(place)
    file.symlink_to(place)
    refused(copy, "symbolic link", file.name)


def test_symbolic_link_to_a_folder(copy: Path) -> None:
    (copy / "weights").rename(copy.parent / "elsewhere")
    (copy / "weights").symlink_to(copy.parent / "elsewhere")
    refused(copy, "symbolic link", "weights")


def test_symbolic_link_as_the_manifest(copy: Path) -> None:
    (copy / "manifest.json").rename(copy.parent / "manifest.json")
    (copy / "manifest.json").symlink_to(copy.parent / "manifest.json")
    refused(copy, "manifest.json")


def test_the_index_points_outside(copy: Path) -> None:
    """The weights index is a file of the bundle too, and no more to be trusted."""
    index = copy / "weights" / "index.json"
    data = json.loads(index.read_text())
    data["file"] = "../../outside"
    (copy.parent / "outside").write_bytes((copy / "weights" / "data_0").read_bytes())
    index.write_text(json.dumps(data))
    edit(copy, lambda m: m["files"]["weights/index.json"].update(size=index.stat().st_size))
    with pytest.raises(BundleError):
        Bundle.open(copy).weights()


def test_flipped_byte_shows_under_verify(copy: Path) -> None:
    for file in ["weights/data_0", *(p.name for p in copy.glob("*.mindir"))]:
        path = copy / file
        original = path.read_bytes()
        changed = bytearray(original)
        changed[len(changed) // 2] ^= 0x10
        path.write_bytes(changed)
        bundle = Bundle.open(copy)
        with pytest.raises(BundleError, match="sha256") as caught:
            bundle.verify()
        assert file in str(caught.value)
        path.write_bytes(original)
    Bundle.open(copy).verify()


@pytest.mark.parametrize("change", [-1, 1])
def test_other_size(copy: Path, change: int) -> None:
    path = copy / "weights" / "data_0"
    data = path.read_bytes()
    path.write_bytes(data[:change] if change < 0 else data + b"x")
    refused(copy, "weights/data_0", str(len(data)))


def test_missing_file(copy: Path) -> None:
    next(copy.glob("*.mindir")).unlink()
    refused(copy, "missing", ".mindir")


def test_no_bundle(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "nowhere", "glmlite export")
    (tmp_path / "manifest.json").mkdir()
    refused(tmp_path, "manifest.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", '{"schema_version": 1}', "\x00" * 9])
def test_manifest_that_is_none(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text)
    refused(copy, "manifest.json")


def test_deeply_nested_manifest(copy: Path) -> None:
    (copy / "manifest.json").write_text("[" * 200_000 + "]" * 200_000)
    refused(copy, "manifest.json")


def test_newer_schema(copy: Path) -> None:
    edit(copy, lambda data: data.update(schema_version=2))
    refused(copy, "2", "pip install -U glmlite")


def test_unknown_key(copy: Path) -> None:
    edit(copy, lambda data: data.update(draft_model="x"))
    refused(copy, "draft_model", "newer glmlite")


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(prefix_length=-5),
        lambda d: d.update(prefix_length=2**40),
        lambda d: d.update(prefix_length="5"),
        lambda d: d["model"].update(num_layers=0),
        lambda d: d["model"].update(num_layers=1.5),
        lambda d: d["model"].update(vocab_size=-1),
        lambda d: d["model"]["rope"].update(kind="magic"),
        lambda d: d["graphs"][0].update(tokens=0),
        lambda d: d["graphs"][0].update(cache_length="96"),
        lambda d: d["graphs"][0].update(inputs="input_ids"),
        lambda d: d["graphs"][0].update(phase="train"),
        lambda d: d.update(graphs=[]),
        lambda d: d.update(graphs={}),
        lambda d: d.update(files=[]),
        lambda d: d.update(family="glm9"),
        lambda d: d["weights"].update(dtype="pickle"),
        lambda d: d["files"]["weights/data_0"].update(size=-1),
        lambda d: d["files"]["weights/data_0"].update(size=True),
        lambda d: d["files"]["weights/data_0"].update(sha256=5),
    ],
)
def test_values_that_no_export_writes(copy: Path, change: Callable[[Any], Any]) -> None:
    edit(copy, change)
    refused(copy, "manifest")


def test_graphs_of_another_model(bundles: Bundles, copy: Path, toolchain: str) -> None:
    """The manifest holds, but its graphs have other shapes: an error, no crash and no answer."""
    edit(copy, lambda data: data["model"].update(vocab_size=255))

    def use() -> None:
        with glmlite.load(copy, "lite", toolchain=toolchain) as model:
            model.session().feed([5])

    with pytest.raises((EngineError, BundleError)):
        use()


@pytest.mark.mindspore
def test_mindir_too_new_for_lite(bundles: Bundles, toolchain: str) -> None:
    path = bundles.export("prefix", where="here")
    newest = max(g.mindir_version or 0 for g in Bundle.open(path).manifest.graphs)
    assert newest > 1
    with pytest.raises(EngineError) as caught:
        glmlite.load(path, "lite", toolchain=toolchain)
    message = str(caught.value)
    for word in (f"MindIR version {newest}", "2.0.0", "--toolchain"):
        assert word in message, message
    # "auto" takes what can read it, and says so: MindSpore 2.0.0 cannot either.
    with glmlite.load(path, "auto", toolchain=toolchain) as model:
        assert model.engine_name == "reference"
        assert "reads this bundle" in model.engine_reason
