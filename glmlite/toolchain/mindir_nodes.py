"""The nodes of a MindIR: which operator reads which weight, under the names converters use.

    GraphProto:  node = 1
    NodeProto:   input = 1, output = 2, op_type = 4, domain = 7 (the full name with scope)

A weight reaches its operator through a `Load` node, and a quantized one through a `Cast` as well.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from .mindir import _BYTES, fields, graph_of, list_parameters, open_file

if TYPE_CHECKING:
    import mmap
    from collections.abc import Mapping

    from .mindir import Field

GRAPH_NODE = 1
NODE_INPUT, NODE_OUTPUT, NODE_OP_TYPE, NODE_DOMAIN = 1, 2, 4, 7
# What a converter may quantize: products, and tables that are looked up.
QUANTIZABLE = ("MatMul", "BatchMatMul", "Gather")
_PASSED_THROUGH = ("Load", "Cast")


@dataclasses.dataclass(frozen=True)
class Node:
    """One operator: its kind, its full name, the values it reads and writes."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def parse_node(data: mmap.mmap, field: Field) -> Node:
    """The node that a field of the graph holds."""
    texts: dict[int, list[str]] = {}
    for part in fields(data, field.first, field.end):
        if part.wire == _BYTES and part.number in (
            NODE_INPUT, NODE_OUTPUT, NODE_OP_TYPE, NODE_DOMAIN,
        ):  # fmt: skip
            text = data[part.first : part.end].decode("utf-8")
            texts.setdefault(part.number, []).append(text)
    # "REF::MatMul:23" names a primitive of the file; "MatMul" is its kind.
    kind = texts.get(NODE_OP_TYPE, [""])[0]
    if kind.startswith("REF::"):
        kind = kind[5:].rsplit(":", 1)[0]
    return Node(
        kind,
        texts.get(NODE_DOMAIN, [""])[0],
        tuple(texts.get(NODE_INPUT, ())),
        tuple(texts.get(NODE_OUTPUT, ())),
    )


def list_nodes(path: str) -> list[Node]:
    """Every node of a MindIR's graph, in the file's order.

    Raises:
        MindIRError: this is no MindIR.
    """
    with open_file(path) as data:
        graph = graph_of(data)
        return [
            parse_node(data, field)
            for field in fields(data, graph.first, graph.end)
            if field.number == GRAPH_NODE and field.wire == _BYTES
        ]


def readers(path: str) -> Mapping[str, tuple[str, ...]]:
    """Nodes that a converter may quantize -> the parameters that each of them reads.

    Returns:
        Full node name -> Hugging Face names, empty for products of activations and constants.

    Raises:
        MindIRError: this is no MindIR.
    """
    parameters = {p.name for p in list_parameters(path)}
    # A value's full name is "graph:name"; parameters keep theirs behind the colon.
    origin: dict[str, str] = {}
    found: dict[str, tuple[str, ...]] = {}
    for node in list_nodes(path):
        read = []
        for value in node.inputs:
            name = origin.get(value, value.split(":", 1)[-1])
            if name in parameters:
                read.append(name)
        if node.kind in _PASSED_THROUGH and read:
            origin.update(dict.fromkeys(node.outputs, read[0]))
        elif node.kind in QUANTIZABLE:
            found[node.name] = tuple(read)
    return found
