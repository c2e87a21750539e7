"""MindSpore's own export of a network, weights and all, beside the same graph of a bundle."""

from __future__ import annotations

import json
import os
import tempfile


def main(folder: str, name: str) -> dict:
    """Export a graph of a bundle again, with real weights, as `mindspore.export` does it.

    Returns:
        "kinds": how many nodes there are; "differences": where the two graphs differ, in words.
    """
    import mindspore as ms
    from glmlite_toolchain import mindspore_backend, network
    from glmlite_toolchain.weights import WeightsIndex
    from mindspore.train.mind_ir_pb2 import ModelProto

    mindspore_backend.set_cpu(ms)
    with open(os.path.join(folder, "manifest.json"), encoding="utf-8") as file:
        manifest = json.load(file)
    graph = next(g for g in manifest["graphs"] if g["file"] == name)
    half = manifest["weights"]["dtype"] == "float16"
    weights = os.path.join(folder, "weights")
    arrays = WeightsIndex.read(os.path.join(weights, "index.json")).map(weights)
    params = {
        name: ms.Parameter(ms.Tensor(array.copy()), name=name, requires_grad=False)
        for name, array in arrays.items()
    }
    sizes = (graph["batch_size"], graph["tokens"], graph["cache_length"])
    net = network.Network(manifest["model"], params, *sizes, half=half)
    net.set_train(False)
    inputs = network.example_inputs(manifest["model"], *sizes, half=half)
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "whole.mindir")
        ms.export(net, *inputs, file_name=path, file_format="MINDIR")
        whole = _read(ModelProto(), path)
    bundled = _read(ModelProto(), os.path.join(folder, name))

    differences = []
    with open(os.path.join(weights, "data_0"), "rb") as file:
        stored = {_plain(p.name): p for p in bundled.graph.parameter}
        for parameter in whole.graph.parameter:
            other = stored.pop(_plain(parameter.name))
            assert other.external_data.location == "weights/data_0"
            file.seek(other.external_data.offset)
            if file.read(other.external_data.length) != parameter.raw_data:
                differences.append("bytes of " + parameter.name)
            if (other.dims, other.data_type) != (parameter.dims, parameter.data_type):
                differences.append("type of " + parameter.name)
        differences += list(stored)
    nodes = [_normal(whole.graph), _normal(bundled.graph)]
    if len(nodes[0]) != len(nodes[1]):
        differences.append(f"{len(nodes[0])} nodes and {len(nodes[1])}")
    pairs = zip(*nodes)  # noqa: B905 - Python 3.7 runs this
    differences += [str(one)[:200] for one, other in pairs if one != other]
    return {"nodes": len(nodes[0]), "differences": differences}


def _read(model, path: str):
    with open(path, "rb") as file:
        model.ParseFromString(file.read())
    return model


def _plain(name: str) -> str:
    return name.split(":", 1)[-1]


def _normal(graph) -> list:
    """Nodes without the names that MindSpore numbers anew with each export."""
    origin = {p.name: _plain(p.name) for p in graph.parameter}
    origin.update((value.name, f"input {i}") for i, value in enumerate(graph.input))
    nodes = []
    for i, node in enumerate(graph.node):
        inputs = [origin[name] for name in node.input]
        kind = node.op_type.split("::")[-1].split(":")[0]
        for output in node.output:
            origin[output] = f"node {i}"
        attributes = [str(attribute) for attribute in node.attribute]
        nodes.append([kind, inputs, attributes])
    return nodes
