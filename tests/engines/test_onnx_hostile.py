"""ONNX bundles that somebody damaged, or made to harm: refused before ONNX Runtime opens them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glmlite
from glmlite.bundle import Bundle
from glmlite.bundle.onnx_file import OnnxFileError
from glmlite.bundle.onnx_graphs import check_onnx_graphs
from glmlite.bundle.onnx_reader import MAX_NODES, read_onnx_file
from glmlite.errors import BundleError, EngineError, GlmliteError
from glmlite.runtime.engines import onnx as engine
from tests.engines.bundles import FORMATS, Bundles

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture
def copy(bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle to spoil; whoever opens a graph of it with ONNX Runtime fails the test."""
    path = tmp_path / "bundle"
    shutil.copytree(bundles.export("prefix", **FORMATS["onnx"]), path)
    glmlite.load(path, "onnx").close()

    def opened(*_: object) -> None:
        pytest.fail("ONNX Runtime was asked to open it")

    monkeypatch.setattr(engine, "open_session", opened)
    return path


def set_size(path: Path, name: str) -> None:
    """Make the manifest agree with a file's size."""
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"][name]["size"] = (path / name).stat().st_size
    (path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change the graph."""
    file = path / "model.onnx"
    model = onnx.load(file, load_external_data=False)
    change(model)
    file.write_bytes(model.SerializeToString())
    set_size(path, file.name)


def place(model: Any) -> Any:
    """Where the first matrix lies."""
    return next(t for t in model.graph.initializer if t.external_data).external_data


def refused(path: Path, kind: type[GlmliteError], *words: str) -> None:
    with pytest.raises(kind) as caught:
        glmlite.load(path)
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    "location",
    [
        "../data_0",
        "../../../../../../../../etc/passwd",
        "/etc/passwd",
        "weights/../weights/data_0",
        "weights/index.json",
        "model.onnx",
        "weights/data_1",
        "weights\\data_0",
        "*/_ORT_MEM_ADDR_/*",
    ],
)
def test_weights_from_elsewhere(copy: Path, location: str) -> None:
    def change(model: Any) -> None:
        place(model)[0].value = location

    edit(copy, change)
    refused(copy, BundleError, "no weights file of this bundle", "model.onnx")


def test_an_absolute_path_to_the_right_file(copy: Path) -> None:
    def change(model: Any) -> None:
        place(model)[0].value = str(copy / "weights" / "data_0")

    edit(copy, change)
    refused(copy, BundleError, "no weights file of this bundle")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("offset", "1000000000", "bytes that weights/data_0 does not have"),
        ("offset", "-64", "not told in location, offset and length"),
        ("offset", "99999999999999999999999", "not told in location, offset and length"),
        ("length", "8", "where its shape takes"),
        ("length", "", "not told in location, offset and length"),
        ("location", "", "not told in location, offset and length"),
        ("checksum", "0", "is told by 'checksum'"),
        ("location", None, "or told twice"),
    ],
)
def test_a_wrong_place(copy: Path, key: str, value: str | None, words: str) -> None:
    def change(model: Any) -> None:
        entries = place(model)
        found = [entry for entry in entries if entry.key == key]
        if value is None or not found:
            entries.add(key=key, value=value or "/etc/passwd")
        else:
            found[0].value = value

    edit(copy, change)
    refused(copy, GlmliteError, words)


def test_a_data_file_that_is_missing_or_cut_short(copy: Path) -> None:
    data = copy / "weights" / "data_0"
    whole = data.read_bytes()
    data.write_bytes(whole[:-100])
    refused(copy, BundleError, "weights/data_0", "bytes; the manifest says")
    set_size(copy, "weights/data_0")
    refused(copy, BundleError, "lies outside data_0")
    data.unlink()
    refused(copy, BundleError, "weights/data_0 is missing")


@pytest.mark.parametrize("name", ["model.onnx", "weights/data_0"])
def test_symbolic_links(copy: Path, name: str, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    (copy / name).rename(moved)
    (copy / name).symlink_to(moved)
    refused(copy, BundleError, "symbolic link")


def add_node(model: Any, op: str, domain: str = "", **attributes: Any) -> None:
    made = onnx.helper.make_node(op, ["input_ids"], ["spare"], domain=domain, **attributes)
    model.graph.node.append(made)


def subgraph(model: Any) -> None:
    body = onnx.helper.make_graph([], "body", [], [])
    made = onnx.helper.make_node("If", ["x"], ["y"], then_branch=body, else_branch=body)
    model.graph.node.append(made)


def function(model: Any) -> None:
    model.functions.append(
        onnx.helper.make_function(
            "local", "F", ["x"], ["y"], [], [onnx.helper.make_opsetid("", 17)]
        )
    )


def external_attribute(model: Any) -> None:
    tensor = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "t")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "weights/data_0"), ("offset", "64"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    add_node(model, "Constant", value=tensor)


def sparse(model: Any) -> None:
    model.graph.sparse_initializer.add(dims=[4])


def odd_dtype(model: Any) -> None:
    model.graph.initializer.add(name="words", data_type=onnx.TensorProto.STRING, dims=[1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: add_node(model, "Shell", "ai.evil"), "operators of the domains ai.evil"),
        (
            lambda model: model.opset_import.append(onnx.helper.make_opsetid("my.ops", 1)),
            "operators of the domains my.ops",
        ),
        (function, "functions"),
        (subgraph, "subgraph"),
        (external_attribute, "attribute's tensor lies in another file"),
        (sparse, "sparse tensors"),
        (odd_dtype, "the tensor words has dtype 8"),
        (lambda model: model.ClearField("graph"), "no graph"),
    ],
)
def test_what_glmlites_graphs_never_hold(
    copy: Path, change: Callable[[Any], Any], words: str
) -> None:
    edit(copy, change)
    refused(copy, EngineError, words, "model.onnx")


def rename(values: Any, old: str, new: str) -> None:
    next(v for v in values if v.name == old).name = new


def fix(value: Any, axis: int, size: int) -> None:
    value.type.tensor_type.shape.dim[axis].dim_value = size


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: rename(g.input, "position", "offset"), "inputs are not the manifest's"),
        (lambda g: g.input.add().CopyFrom(g.input[0]), "inputs are not the manifest's"),
        (lambda g: rename(g.output, "logits", "y"), "outputs are not the manifest's"),
        (lambda g: g.output.pop(), "outputs are not the manifest's"),
        (lambda g: fix(g.input[3], 3, 8), "cache is not the model's"),
        (lambda g: fix(g.input[4], 1, 7), "cache is not the model's"),
        (lambda g: fix(g.input[3], 2, 96), "cache length is fixed"),
        (lambda g: fix(g.input[0], 0, 1), "batch size or cache length is fixed"),
        (lambda g: fix(g.output[0], 2, 1000), "first output is not the logits"),
        (lambda g: rename(g.input, "all_logits", "mode"), "inputs are not the manifest's"),
    ],
)
def test_another_signature(copy: Path, change: Callable[[Any], Any], words: str) -> None:
    edit(copy, lambda model: change(model.graph))
    refused(copy, BundleError, words)


def test_a_graph_of_another_layer_count(copy: Path, bundles: Bundles) -> None:
    other = bundles.export("glm3", **FORMATS["onnx"])
    shutil.copyfile(other / "model.onnx", copy / "model.onnx")
    set_size(copy, "model.onnx")
    refused(copy, GlmliteError, "model.onnx")


def test_nodes_without_end(copy: Path) -> None:
    """A second "graph" field is merged into the first; empty nodes take two bytes each."""
    nodes = b"\x0a\x00" * (MAX_NODES + 1)
    size, length = len(nodes), bytearray()
    while size:
        length.append(size & 0x7F | (0x80 if size > 0x7F else 0))
        size >>= 7
    with (copy / "model.onnx").open("ab") as file:
        file.write(b"\x3a" + bytes(length) + nodes)
    set_size(copy, "model.onnx")
    refused(copy, EngineError, f"more than {MAX_NODES} nodes")


def test_a_suffix_that_means_another_format(copy: Path) -> None:
    (copy / "model.onnx").rename(copy / "model.ort")
    text = (copy / "manifest.json").read_text(encoding="utf-8")
    (copy / "manifest.json").write_text(text.replace("model.onnx", "model.ort"), encoding="utf-8")
    refused(copy, EngineError, "does not end in .onnx")


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 64, b"ORTM" * 40, b"\x08\x0a" * 8, bytes(range(256))]
)
def test_no_onnx_at_all(copy: Path, content: bytes) -> None:
    (copy / "model.onnx").write_bytes(content)
    set_size(copy, "model.onnx")
    refused(copy, EngineError, "no ONNX graph", "model.onnx")


def test_cut_anywhere(copy: Path) -> None:
    """A part of the file is no graph, wherever it ends, unless it is as good as the whole."""
    file = copy / "model.onnx"
    whole = file.read_bytes()
    bundle = Bundle.open(copy)
    entries = bundle.manifest.graphs
    for end in range(0, len(whole), len(whole) // 60):
        file.write_bytes(whole[:end])
        with pytest.raises(GlmliteError):
            check_onnx_graphs(copy, bundle.manifest, entries)


def test_bytes_changed_anywhere(copy: Path) -> None:
    """Whatever a byte becomes, the answer is the file's contents or our own error, and soon."""
    file, random = copy / "model.onnx", np.random.default_rng(5)
    whole = file.read_bytes()
    for _ in range(150):
        spoiled = bytearray(whole)
        for at in random.integers(0, len(whole), 3):
            spoiled[at] = random.integers(0, 256)
        file.write_bytes(spoiled)
        try:
            read_onnx_file(file)
        except OnnxFileError:
            continue
