"""Hollow copies of MindIR files, read with MindSpore's own protobuf classes."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import pytest

from glmlite.toolchain.hollow import outer_parameters, write_hollow
from glmlite.toolchain.mindir import MindIRError
from tests.toolchain.test_mindir import proto  # noqa: F401

pytestmark = pytest.mark.mindspore

FLOAT32, INT8, FLOAT16 = 1, 3, 10


def add_weight(graph: Any, name: str, data_type: int, dims: list[int]) -> None:
    weight = graph.parameter.add(name=f"net:{name}", data_type=data_type, dims=dims)
    weight.external_data.location = "weights/data_0"
    weight.external_data.offset, weight.external_data.length = 64, 24


@pytest.fixture
def message(proto: Any) -> Any:  # noqa: F811
    """Three products: with a float32, a float16, and a cast int8 weight; one more is inside."""
    model = proto.ModelProto(ir_version="0.1.0", mind_ir_version=3)
    model.primitives.add(name="Load:1", op_type="Load")
    model.primitives.add(name="Depend:9", op_type="Depend")
    graph = model.graph
    graph.name = "net"
    add_weight(graph, "wide", FLOAT32, [2, 3])
    add_weight(graph, "half", FLOAT16, [4, 3])
    add_weight(graph, "byte", INT8, [8, 3])
    inside = graph.parameter.add(name="net:inside", data_type=FLOAT32, dims=[1])
    inside.raw_data = bytes(4)
    for name in ("wide", "half", "byte"):
        node = graph.node.add(op_type="REF::Load:1", name=f"net:l.{name}", domain=f"Load-{name}")
        node.input.extend([f"net:{name}", "monad"])
        node.output.append(f"net:l.{name}")
        node.attribute.add(name="shape").tensors.add(data_type=FLOAT16, dims=[4, 3])
    cast = graph.node.add(op_type="REF::Cast:2", name="net:c.byte", domain="Cast-byte")
    cast.input.extend(["net:l.byte", "dtype"])
    cast.output.append("net:c.byte")
    for x, weight in (("x", "l.wide"), ("m.l.wide", "l.half"), ("m.l.half", "c.byte")):
        node = graph.node.add(op_type="REF::MatMul:3", name=f"net:m.{weight}", domain=weight)
        node.input.extend([f"net:{x}", f"net:{weight}", "no", "yes"])
        node.output.append(f"net:m.{weight}")
    graph.output.add(name="logits")
    model.little_endian = True
    return model


def hollow(message: Any, folder: Path, *, shrunk: bool = False) -> Any:
    source, target = folder / "net.mindir", folder / "hollow.mindir"
    source.write_bytes(message.SerializeToString())
    write_hollow(str(source), str(target), outer_parameters(str(source)), shrunk=shrunk)
    return type(message).FromString(target.read_bytes())


def test_nothing_says_where_the_weights_are(message: Any, tmp_path: Path) -> None:
    found = hollow(message, tmp_path)
    for parameter in message.graph.parameter:
        parameter.ClearField("external_data")
    assert list(found.graph.parameter) == list(message.graph.parameter)
    assert found.graph.parameter[-1].raw_data == bytes(4)
    for name in ("primitives", "mind_ir_version", "little_endian", "ir_version"):
        assert getattr(found, name) == getattr(message, name)
    assert list(found.graph.output) == list(message.graph.output)


def test_narrow_weights_wait_for_the_other_factor(message: Any, tmp_path: Path) -> None:
    nodes = list(hollow(message, tmp_path).graph.node)
    before = {node.output[0]: node for node in message.graph.node}
    made = [node for node in nodes if node.output[0] not in before]
    assert [node.op_type for node in made] == ["REF::Depend:9", "REF::Depend:9", "REF::Cast:2"]
    half, byte, cast = made
    assert list(half.input) == ["net:l.half", "net:m.l.wide"]
    assert list(byte.input) == ["net:l.byte", "net:m.l.half"]
    assert list(cast.input) == [byte.output[0], "dtype"]
    assert half.attribute == before["net:l.half"].attribute
    after = {node.output[0]: node for node in nodes}
    assert len(after) == len(nodes), "two nodes write one value"
    assert after["net:m.l.wide"] == before["net:m.l.wide"]
    assert list(after["net:m.l.half"].input) == ["net:m.l.wide", half.output[0], "no", "yes"]
    assert list(after["net:m.c.byte"].input) == ["net:m.l.half", cast.output[0], "no", "yes"]
    known = {"net:x", "monad", "dtype", "no", "yes"} | {p.name for p in message.graph.parameter}
    for node in nodes:
        assert set(node.input) <= known, "a value is read before it is written"
        known |= set(node.output)


def test_a_graph_of_float32_keeps_its_nodes(message: Any, tmp_path: Path) -> None:
    for parameter in message.graph.parameter:
        parameter.data_type = FLOAT32
    assert list(hollow(message, tmp_path).graph.node) == list(message.graph.node)


def test_shrunk_parameters_hold_one_number(message: Any, tmp_path: Path) -> None:
    found = hollow(message, tmp_path, shrunk=True)
    assert [list(p.dims) for p in found.graph.parameter] == [[1]] * 4
    assert list(found.graph.node) == list(message.graph.node)


@pytest.mark.parametrize("location", ["/etc/passwd", "../data_0", "a/../../b", ""])
def test_weights_outside_the_folder_are_refused(
    message: Any, tmp_path: Path, location: str
) -> None:
    message.graph.parameter[0].external_data.location = location
    with pytest.raises(MindIRError, match="wide lies outside"):
        hollow(message, tmp_path)


def test_functions_with_parameters_are_left_to_mindspore(message: Any, tmp_path: Path) -> None:
    add_weight(message.functions.add(name="f"), "other", FLOAT32, [2, 3])
    path = tmp_path / "net.mindir"
    path.write_bytes(message.SerializeToString())
    assert outer_parameters(str(path)) == []


def test_damaged_files_are_refused_or_copied_but_never_crash(message: Any, tmp_path: Path) -> None:
    data = message.SerializeToString()
    generator = random.Random(11)
    path = tmp_path / "damaged.mindir"
    for _ in range(300):
        damaged = bytearray(data[: generator.randrange(1, len(data) + 1)])
        for _ in range(generator.randrange(3)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        path.write_bytes(damaged)
        with contextlib.suppress(MindIRError, UnicodeDecodeError):
            write_hollow(str(path), str(tmp_path / "out"), outer_parameters(str(path)))
