"""What index, graphs and tokenizer say must be what the manifest says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glmlite
from glmlite.bundle import Bundle
from glmlite.bundle.contents import check_graphs, check_special_ids
from glmlite.bundle.manifest import GraphEntry, Manifest, TokenizerEntry, WeightsEntry
from glmlite.bundle.store import describe_files
from glmlite.errors import BundleError, EngineError
from glmlite.exporter.weights import WeightsFile
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import FINAL_NORM, OUTPUT, parameter_shapes
from glmlite.progress import NoProgress
from glmlite.quant.numerics import quantize
from glmlite.quant.weights import add_quantized

MODEL = ModelConfig(1, 8, 2, 1, 4, 6, 11, 16)
INDEX, DATA, GRAPH = "weights/index.json", "weights/data_0", "decode.mindir"
SIZE = 4096  # no less than data_0


def message(number: int, payload: bytes | int) -> bytes:
    """One protobuf field, written by hand: bytes of less than 2**14, or a number."""

    def varint(n: int) -> bytes:
        return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)

    if isinstance(payload, int):
        return varint(number << 3) + varint(payload)
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def parameter(location: str | None, offset: int = 64, length: int = 32) -> bytes:
    """A GraphProto.parameter: outside, or with 32 bytes inside."""
    place = message(9, bytes(32))
    if location is not None:
        external = message(1, location.encode()) + message(2, offset) + message(3, length)
        place = message(12, external)
    return message(3, message(7, b"w") + place)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """One layer of noise, its output quantized, and a graph that holds nothing but a parameter."""
    rng = np.random.default_rng(0)
    with WeightsFile(tmp_path / "weights") as file:
        for name, shape in parameter_shapes(MODEL).items():
            values = rng.normal(0, 0.1, shape).astype(np.float32)
            if name == OUTPUT:
                add_quantized(file, name, quantize(values, name=name))
            else:
                file.add(name, values)
    (tmp_path / GRAPH).write_bytes(message(7, parameter(DATA)))
    (tmp_path / "other").write_bytes(bytes(SIZE))
    manifest = Manifest(
        model=MODEL,
        family="glm2",
        tokenizer=None,
        graphs=(GraphEntry("decode", 1, 16, 1, "mindir", GRAPH, (), ()),),
        weights=WeightsEntry("float32", "portable_int8", 1, INDEX),
        files=describe_files(tmp_path, NoProgress()),
        prefix_length=0,
        prefix_cache=None,
        parity=(),
        producer={},
        checkpoint={},
    )
    (tmp_path / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return tmp_path


def edit(path: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Change a JSON file; the manifest is told of its new size and hash."""
    data = json.loads((path / name).read_text(encoding="utf-8"))
    change(data)
    text = json.dumps(data)
    (path / name).write_text(text, encoding="utf-8")
    if name == INDEX:
        entry = {"size": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
        edit(path, "manifest.json", lambda m: m["files"].update({INDEX: entry}))


def test_a_whole_bundle_runs(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    opened.verify()
    check_graphs(bundle, opened.manifest, opened.manifest.graphs)
    with glmlite.load(bundle, "reference") as model:
        assert np.isfinite(model.session().feed([1, 2])).all()


def test_the_weights_are_a_listed_file(bundle: Path) -> None:
    edit(bundle, "manifest.json", lambda m: m["files"].pop(DATA))
    with pytest.raises(BundleError, match="not among the files"):
        Bundle.open(bundle)


@pytest.mark.parametrize("name", ["data_1", "..", ".", "", "link"])
def test_the_index_names_another_file(bundle: Path, name: str) -> None:
    data = (bundle / DATA).read_bytes()
    (bundle / "weights" / "data_1").write_bytes(data)
    (bundle / "weights" / "link").symlink_to("data_0")
    edit(bundle, INDEX, lambda i: i.update(file=name))
    with pytest.raises(BundleError):
        Bundle.open(bundle)
    entry = {"size": len(data), "sha256": "0"}
    edit(bundle, "manifest.json", lambda m: m["files"].update({f"weights/{name}": entry}))
    if name == "data_1":
        with pytest.raises(BundleError, match="sha256"):
            Bundle.open(bundle).verify()
    else:
        with pytest.raises(BundleError):
            Bundle.open(bundle)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop(FINAL_NORM), "lacks"),
        (lambda t: t.pop(OUTPUT), "lacks"),
        (lambda t: t.pop(OUTPUT + ".scale"), "scale"),
        (lambda t: t[OUTPUT].update(shape=[8, 11]), "does not fit"),
        (lambda t: t[FINAL_NORM].update(shape=[4, 2]), "shape"),
        (lambda t: t[FINAL_NORM].update(dtype="float16", nbytes=16), "float16"),
        (lambda t: t[FINAL_NORM].update(offset="64"), "not usable"),
        (lambda t: t.update({FINAL_NORM: []}), "not usable"),
    ],
)
def test_the_index_lists_other_weights(
    bundle: Path, change: Callable[[Any], Any], said: str
) -> None:
    edit(bundle, INDEX, lambda i: change(i["tensors"]))
    with pytest.raises(BundleError, match=said):
        Bundle.open(bundle)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"file": 1, "tensors": {}}', "\udcff"])
def test_the_index_is_none(bundle: Path, text: str) -> None:
    data = text.encode("utf-8", "surrogateescape")
    (bundle / INDEX).write_bytes(data)
    edit(bundle, "manifest.json", lambda m: m["files"][INDEX].update(size=len(data)))
    with pytest.raises(BundleError):
        Bundle.open(bundle)


def checked(path: Path, graph: bytes) -> None:
    """What an engine does before it opens this graph."""
    (path / GRAPH).write_bytes(graph)
    edit(path, "manifest.json", lambda m: m["files"][GRAPH].update(size=len(graph)))
    opened = Bundle.open(path)
    check_graphs(opened.path, opened.manifest, opened.manifest.graphs)


def test_graphs_may_hold_their_weights(bundle: Path) -> None:
    checked(bundle, message(7, parameter(None)))


GOOD = message(7, parameter(DATA))


@pytest.mark.parametrize(
    "graph",
    [
        message(7, parameter("/etc/passwd")),
        message(7, parameter("../outside")),
        message(7, parameter("weights/../../outside")),
        message(7, parameter("other")),
        message(7, parameter(INDEX)),
        message(7, parameter("")),
        message(7, parameter(DATA, offset=SIZE)),
        message(7, parameter(DATA, length=SIZE)),
        message(7, parameter(DATA, offset=2**64 - 32)),
        message(7, parameter(DATA) + parameter("other")),
        # A protobuf reader joins the pieces of a graph, and reads functions, too.
        GOOD + message(7, parameter("/etc/passwd")),
        GOOD + message(8, parameter("/etc/passwd")),
    ],
)
def test_graphs_read_the_bundle_s_weights_only(bundle: Path, graph: bytes) -> None:
    with pytest.raises(BundleError, match=GRAPH):
        checked(bundle, graph)


def test_ascends_converter_keeps_files_of_its_own(bundle: Path) -> None:
    scheme = {"quantization": "ascend_on_the_fly_int8"}
    edit(bundle, "manifest.json", lambda m: m["weights"].update(scheme))
    checked(bundle, message(7, parameter("other")))
    for location, offset in (("unlisted", 0), ("/etc/passwd", 0), ("other", SIZE)):
        with pytest.raises(BundleError, match=GRAPH):
            checked(bundle, message(7, parameter(location, offset)))


@pytest.mark.parametrize(
    "graph", [b"x", GOOD[:-1], message(13, 1), message(7, parameter(DATA)[1:])]
)
def test_damaged_graphs(bundle: Path, graph: bytes) -> None:
    with pytest.raises(EngineError, match="no MindIR"):
        checked(bundle, graph)


@pytest.mark.parametrize("engine", ["mindspore", "lite"])
def test_engines_check_before_they_open(
    bundle: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    """The interpreter may have neither engine: the bundle is refused first."""
    graph = message(7, parameter("/etc/passwd"))
    (bundle / GRAPH).write_bytes(graph)
    edit(bundle, "manifest.json", lambda m: m["files"][GRAPH].update(size=len(graph)))
    edit(bundle, "manifest.json", lambda m: m["weights"].update(quantization="none"))
    python = request.getfixturevalue("toolchain") if engine == "lite" else None
    if engine == "mindspore":
        pytest.importorskip("mindspore")
    with pytest.raises(BundleError, match="passwd"):
        glmlite.load(bundle, engine, toolchain=python)


def test_special_ids_are_the_tokenizer_s(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    check_special_ids(manifest, {"sop": 1})
    object.__setattr__(manifest, "tokenizer", TokenizerEntry("t.model", {"sop": 7}))
    check_special_ids(manifest, {"sop": 7})
    for found in ({"sop": 8}, {"sop": 7, "<|user|>": 9}, {}):
        with pytest.raises(BundleError, match="special ids"):
            check_special_ids(manifest, found)


@pytest.mark.parametrize("change", ["family", "ids"])
def test_another_family_is_refused_at_load(tmp_path: Path, change: str) -> None:
    from tests.cli.conftest import write_bundle

    path = write_bundle(tmp_path / "demo")
    glmlite.load(path, "reference").close()
    if change == "family":
        edit(path, "manifest.json", lambda m: m.update(family="glm3"))
    else:
        edit(path, "manifest.json", lambda m: m["tokenizer"]["special_ids"].update(sop=5))
    with pytest.raises(BundleError, match="special ids"):
        glmlite.load(path, "reference")
