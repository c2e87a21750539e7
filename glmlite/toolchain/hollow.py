"""Copies of MindIR files without their weights, for MindSpore to load.

MindSpore reads a file of external weights whole, copies each parameter out of it, and does so again
for every graph. A hollow copy says of its parameters what they are and not where: MindSpore then
makes room for them, which costs nothing before it is written to, and whoever loads the copy assigns
them their values.

Where a weight is not float32, MindSpore's CPU backend casts it to float32 before the product, and
starts with all casts of a graph at once: a step then needs the memory of all weights in float32. In
a hollow copy each of these weights waits, by a `Depend` node, for what it is multiplied with.

    ModelProto:     primitives = 12
    PrimitiveProto: name = 1, op_type = 2
    NodeProto:      name = 3

Source: mindspore/core/proto/mind_ir.proto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .mindir import (
    _BYTES,
    _VARINT,
    GRAPH_PARAMETER,
    TENSOR_EXTERNAL,
    MindIRError,
    _bytes_field,
    _varint,
    fields,
    graph_of,
    list_all_parameters,
    open_file,
    write_graph,
)
from .mindir_nodes import (
    GRAPH_NODE,
    NODE_DOMAIN,
    NODE_INPUT,
    NODE_OP_TYPE,
    NODE_OUTPUT,
    parse_node,
)
from .mindir_quant import TENSOR_DIMS, TypedParameter, list_typed_parameters

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator, Sequence

    from .mindir import Field
    from .mindir_nodes import Node

MODEL_PRIMITIVES = 12
PRIMITIVE_NAME, PRIMITIVE_OP_TYPE = 1, 2
NODE_NAME = 3
_PRODUCTS = ("MatMul", "BatchMatMul")


def outer_parameters(path: str) -> list[TypedParameter]:
    """The parameters of a MindIR whose data lies in files beside it.

    Returns:
        All of them; none where a hollow copy could not be used: parameters of functions inside the
        graph, or of a dtype that NumPy does not have.

    Raises:
        MindIRError: this is no MindIR, or a parameter lies outside its folder.
    """
    typed = list_typed_parameters(path)
    if len(typed) != len(list_all_parameters(path)):
        return []
    outer = [parameter for parameter in typed if parameter.stored.location is not None]
    for parameter in outer:
        location = (parameter.stored.location or "").replace("\\", "/")
        if not location or location.startswith("/") or ".." in location.split("/"):
            raise MindIRError("the data of %s lies outside its folder" % parameter.stored.name)
    return outer if all(parameter.dtype for parameter in outer) else []


def write_hollow(
    source: str, target: str, outer: Sequence[TypedParameter], *, shrunk: bool = False
) -> None:
    """Copy a MindIR without its outer parameters' data.

    Args:
        source: path of the MindIR.
        target: path of the copy, not the same.
        outer: `outer_parameters(source)`.
        shrunk: say of these parameters that they hold one number each. Such a graph can be loaded,
            not run.

    Raises:
        MindIRError: the source is no MindIR.
    """
    names = {parameter.stored.name for parameter in outer}
    narrow = {parameter.stored.name for parameter in outer if parameter.dtype != "float32"}
    with open_file(source) as data:
        graph = graph_of(data)
        depend = _find_depend(data)
        scheduler = _Scheduler(data, depend, narrow) if depend and narrow and not shrunk else None
        parts = []
        for field in fields(data, graph.first, graph.end):
            if field.wire == _BYTES and field.number == GRAPH_PARAMETER and names:
                parts.append(_hollow_parameter(data, field, shrunk))
            elif field.wire == _BYTES and field.number == GRAPH_NODE and scheduler:
                parts.extend(scheduler.place(field))
            else:
                parts.append(data[field.start : field.end])
        write_graph(data, graph, parts, target)


def _hollow_parameter(data: mmap.mmap, tensor: Field, shrunk: bool) -> bytes:
    """A TensorProto that does not say where its data lies; one with data inside stays as it is."""
    inner = list(fields(data, tensor.first, tensor.end))
    if not any(part.number == TENSOR_EXTERNAL for part in inner):
        return data[tensor.start : tensor.end]
    dropped = (TENSOR_EXTERNAL, TENSOR_DIMS) if shrunk else (TENSOR_EXTERNAL,)
    kept = b"".join(data[p.start : p.end] for p in inner if p.number not in dropped)
    if shrunk:
        kept += _varint(TENSOR_DIMS << 3 | _VARINT) + _varint(1)
    return _bytes_field(GRAPH_PARAMETER, kept)


def _find_depend(data: mmap.mmap) -> str | None:
    """What nodes of kind Depend have as op_type; every graph with parameters has such a node."""
    for field in fields(data, 0, len(data)):
        if field.number != MODEL_PRIMITIVES or field.wire != _BYTES:
            continue
        texts = {
            part.number: data[part.first : part.end].decode("utf-8", "replace")
            for part in fields(data, field.first, field.end)
            if part.wire == _BYTES and part.number in (PRIMITIVE_NAME, PRIMITIVE_OP_TYPE)
        }
        if texts.get(PRIMITIVE_OP_TYPE) == "Depend":
            return "REF::" + texts.get(PRIMITIVE_NAME, "")
    return None


class _Loaded(NamedTuple):
    """A weight on its way to a product: its `Load` node, and the `Cast` behind it if there is one.

    Attributes:
        value: what the `Load` node writes.
        load: the node. cast: the node, or None.
    """

    value: str
    load: Field
    cast: Field | None


class _Scheduler:
    """Lets narrow weights wait for the other factor of their product.

    Args:
        data: the MindIR.
        depend: op_type of Depend nodes.
        narrow: names of the parameters.
    """

    def __init__(self, data: mmap.mmap, depend: str, narrow: set[str]) -> None:
        self.data, self.depend, self.narrow = data, depend, narrow
        self.loaded: dict[str, _Loaded] = {}
        self.count = 0

    def place(self, field: Field) -> Iterator[bytes]:
        """The fields that take a node's place, in order."""
        node = parse_node(self.data, field)
        if not node.inputs or not node.outputs:
            pass
        elif node.kind == "Load" and node.inputs[0].split(":", 1)[-1] in self.narrow:
            self.loaded[node.outputs[0]] = _Loaded(node.outputs[0], field, None)
        elif node.kind == "Cast" and node.inputs[0] in self.loaded:
            self.loaded[node.outputs[0]] = self.loaded[node.inputs[0]]._replace(cast=field)
        elif node.kind in _PRODUCTS and len(node.inputs) > 1 and node.inputs[1] in self.loaded:
            yield from self._wait(field, node)
            return
        yield self.data[field.start : field.end]

    def _wait(self, field: Field, product: Node) -> Iterator[bytes]:
        """`Depend` on the other factor, the cast once more if there was one, the product."""
        weight = self.loaded[product.inputs[1]]
        self.count += 1
        held = "%s.held%d" % (weight.value, self.count)
        yield self._copy(weight.load, (weight.value, product.inputs[0]), held, self.depend)
        if weight.cast is not None:
            inputs = parse_node(self.data, weight.cast).inputs
            cast = held + ".cast"
            yield self._copy(weight.cast, (held, *inputs[1:]), cast)
            held = cast
        yield self._copy(field, (product.inputs[0], held, *product.inputs[2:]))

    def _copy(self, field: Field, inputs: Sequence[str], output: str = "", kind: str = "") -> bytes:
        """A node with other inputs and, where given, another output (and name) and op_type."""
        replaced = {NODE_INPUT: tuple(inputs)}  # type: dict[int, tuple[str, ...]]
        if output:
            replaced.update({NODE_OUTPUT: (output,), NODE_NAME: (output,), NODE_DOMAIN: (output,)})
        if kind:
            replaced[NODE_OP_TYPE] = (kind,)
        parts = [
            _bytes_field(number, text.encode("utf-8"))
            for number, texts in sorted(replaced.items())
            for text in texts
        ]
        parts += [
            self.data[part.start : part.end]
            for part in fields(self.data, field.first, field.end)
            if part.number not in replaced
        ]
        return _bytes_field(GRAPH_NODE, b"".join(parts))
