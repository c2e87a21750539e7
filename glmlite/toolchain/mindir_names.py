"""The names of the nodes that write a graph's outputs.

    GraphProto:  node = 1
    NodeProto:   domain = 7 (the full name with scope)

MindSpore numbers nodes as it compiles, so that the same layer has another name in every graph.
MindSpore Lite names variables after the nodes that write them and shares those of equal names
between the graphs of one session: nodes that write the same cache have to be called the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .mindir import (
    _BYTES,
    MODEL_GRAPH,
    MindIRError,
    _bytes_field,
    _varint,
    fields,
    graph_of,
    open_file,
)
from .mindir_nodes import GRAPH_NODE, NODE_DOMAIN, list_nodes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .mindir_nodes import Node


def output_names(path: str) -> list[str]:
    """Full names of the nodes behind a graph's outputs, in order.

    Raises:
        MindIRError: this is no MindIR, or its end is no tuple of nodes.
    """
    return [node.name for node in _output_nodes(list_nodes(path))]


def _output_nodes(nodes: list[Node]) -> list[Node]:
    writers = {value: node for node in nodes for value in node.outputs}
    if not nodes:
        raise MindIRError("it has no node")
    last = nodes[-1]
    # A graph ends in its outputs' tuple, behind a Depend where it has effects in order.
    if last.kind == "Depend" and last.inputs:
        last = writers.get(last.inputs[0], last)
    if last.kind != "MakeTuple" or not all(value in writers for value in last.inputs):
        raise MindIRError("its outputs are no tuple of nodes")
    return [writers[value] for value in last.inputs]


def cache_names(num_layers: int, cache_length: int) -> list[str]:
    """What the nodes behind outputs 1, 2, … of a graph of this cache length are called."""
    return [
        "glmlite/cache_s%d/present.%d.%s" % (cache_length, i, part)
        for i in range(num_layers)
        for part in ("key", "value")
    ]


def name_outputs(source: str, target: str, names: list[str]) -> None:
    """Copy a MindIR, its output nodes behind the first one called `names`.

    Args:
        source: path of the MindIR.
        target: path of the copy, not the same.
        names: for outputs 1, 2, …

    Raises:
        MindIRError: the source has another number of outputs, or two of them are one node.
    """
    found = output_names(source)
    renamed = dict(zip(found[1:], names))
    if len(found) != len(names) + 1 or len(set(found)) != len(found):
        raise MindIRError("it has %d outputs instead of %d" % (len(found), len(names) + 1))
    _rename(source, target, renamed)


def _rename(source: str, target: str, names: Mapping[str, str]) -> None:
    with open_file(source) as data:
        graph = graph_of(data)
        parts = []
        for field in fields(data, graph.first, graph.end):
            if field.number != GRAPH_NODE or field.wire != _BYTES:
                parts.append(data[field.start : field.end])
                continue
            node = []
            for part in fields(data, field.first, field.end):
                text = data[part.start : part.end]
                if part.number == NODE_DOMAIN and part.wire == _BYTES:
                    name = data[part.first : part.end].decode("utf-8")
                    if name in names:
                        text = _bytes_field(NODE_DOMAIN, names[name].encode("utf-8"))
                node.append(text)
            parts.append(_bytes_field(GRAPH_NODE, b"".join(node)))
        with open(target, "wb") as out:
            out.write(data[: graph.start])
            out.write(_varint(MODEL_GRAPH << 3 | _BYTES) + _varint(sum(map(len, parts))))
            for piece in parts:
                out.write(piece)
            out.write(data[graph.end :])
