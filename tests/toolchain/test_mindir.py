"""The wire-format walker against MindSpore's own protobuf classes, and against damage."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from glmlite.toolchain import mindir

pytestmark = pytest.mark.mindspore


@pytest.fixture(scope="module")
def proto():
    """MindSpore's `mind_ir_pb2`."""
    pytest.importorskip("mindspore")
    from mindspore.train import mind_ir_pb2

    return mind_ir_pb2


@pytest.fixture
def model(proto, tmp_path: Path):
    """A MindIR written by MindSpore's classes: one weight inside, one outside; and its path."""
    message = proto.ModelProto(ir_version="0.1.0", producer_name="MindSpore", mind_ir_version=3)
    message.graph.name = "net"
    message.graph.node.add(name="n", op_type="MatMul")
    inside = message.graph.parameter.add(name="net:a.weight", data_type=1, dims=[2, 3])
    inside.raw_data = bytes(range(24))
    outside = message.graph.parameter.add(name="b.weight", data_type=1, dims=[4])
    outside.external_data.location = "net_variables/data_0"
    outside.external_data.offset = 64
    outside.external_data.length = 16
    message.graph.output.add(name="logits")
    message.little_endian = True
    path = tmp_path / "net.mindir"
    path.write_bytes(message.SerializeToString())
    return message, path


def test_reads_version_and_places(model) -> None:
    _, path = model
    assert mindir.read_version(path) == 3
    inside, outside = mindir.list_parameters(path)
    assert (inside.name, inside.location, inside.length) == ("a.weight", None, 24)
    assert path.read_bytes()[inside.offset : inside.offset + 24] == bytes(range(24))
    assert vars(outside) == {
        "name": "b.weight",
        "location": "net_variables/data_0",
        "offset": 64,
        "length": 16,
    }


def test_rewriting_changes_places_and_nothing_else(model, proto, tmp_path: Path) -> None:
    original, path = model
    places = {"a.weight": ("weights/data_0", 64, 24), "b.weight": ("weights/data_0", 128, 16)}
    mindir.rewrite_parameters(path, tmp_path / "new.mindir", places)
    found = proto.ModelProto.FromString((tmp_path / "new.mindir").read_bytes())
    for parameter in found.graph.parameter:
        external = parameter.external_data
        name = parameter.name.split(":")[-1]
        assert (external.location, external.offset, external.length) == places[name]
        assert not parameter.raw_data
    for message in (original, found):
        for parameter in message.graph.parameter:
            parameter.ClearField("raw_data")
            parameter.ClearField("external_data")
    assert found == original


def test_an_unknown_parameter_is_not_passed_over(model, tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        mindir.rewrite_parameters(model[1], tmp_path / "new.mindir", {})


def test_damaged_files_are_refused_or_read_but_never_crash(model, tmp_path: Path) -> None:
    data = model[1].read_bytes()
    generator = random.Random(7)
    path = tmp_path / "damaged.mindir"
    for _ in range(300):
        damaged = bytearray(data[: generator.randrange(1, len(data) + 1)])
        for _ in range(generator.randrange(3)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        path.write_bytes(damaged)
        try:
            mindir.read_version(path)
            mindir.list_parameters(path)
        except (mindir.MindIRError, UnicodeDecodeError):
            pass


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"hello, this is no protobuf"])
def test_what_is_no_mindir_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.mindir"
    path.write_bytes(content)
    with pytest.raises(mindir.MindIRError):
        mindir.read_version(path)
