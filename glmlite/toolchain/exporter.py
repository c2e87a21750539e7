"""Compiles the network into MindIR graphs that share one weights file."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from . import mindir, mindir_names
from .errors import ToolchainError
from .weights import WeightsIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

_COMPARE_BYTES = 16 << 20


def graph_file(graph: Mapping[str, Any]) -> str:
    """The file name of a graph: phase, T, S and B."""
    return "%(phase)s_t%(tokens)d_s%(cache_length)d_b%(batch_size)d.mindir" % graph


def export_graphs(
    config: Mapping[str, Any],
    weights_dir: str,
    out_dir: str,
    graphs: Sequence[Mapping[str, Any]],
    prefix_length: int,
    dtype: str,
    report: Callable[[int], None],
) -> list[dict[str, Any]]:
    """Export every graph and leave one MindIR each in `out_dir`, weights outside.

    MindSpore itself writes the weights along with every graph; they are compared with the shared
    file, byte for byte, and then dropped.

    Args:
        config: `ModelConfig.to_dict()`.
        weights_dir: folder of `index.json` and its data file, a direct child of `out_dir`.
        out_dir: where the graphs go.
        graphs: dicts of phase, tokens, cache_length, batch_size.
        prefix_length: P.
        dtype: "float32" or "float16", of weights, cache and matrix products.
        report: called with the number of graphs done.

    Returns:
        One dict a graph: file, mindir_version, inputs, outputs.

    Raises:
        ToolchainError: MindSpore is missing, failed, or wrote other weights than it was given.
    """
    try:
        import mindspore as ms
    except ImportError as error:
        raise ToolchainError(
            "MindSpore cannot be imported in {python}: {error}",
            hint="Install it there (pip install 'glmlite[mindspore]'), or name an interpreter "
            "that has it: --toolchain PATH. `glmlite doctor` lists what was found.",
            python=os.environ.get("GLMLITE_WORKER_PYTHON", "this interpreter"),
            error=str(error),
        ) from error
    from . import mindspore_backend, network

    mindspore_backend.set_cpu(ms)
    index = WeightsIndex.read(os.path.join(weights_dir, "index.json"))
    arrays = index.map(weights_dir)
    params = network.make_parameters(arrays)
    half = dtype == "float16"
    done: list[dict[str, Any]] = []
    for graph in graphs:
        batch, tokens = graph["batch_size"], graph["tokens"]
        net = network.Network(
            config,
            params,
            batch,
            tokens,
            graph["cache_length"],
            prefix_length=prefix_length,
            score=graph["phase"] == "score",
            half=half,
        )
        net.set_train(False)
        inputs = network.example_inputs(config, batch, tokens, graph["cache_length"], half)
        scratch = os.path.join(out_dir, ".scratch")
        os.makedirs(scratch)
        try:
            ms.export(net, *inputs, file_name=os.path.join(scratch, "graph"), file_format="MINDIR")
            names = mindir_names.cache_names(config["num_layers"], graph["cache_length"])
            entry = _share_weights(
                scratch, out_dir, weights_dir, graph_file(graph), index, arrays, names
            )
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        entry.update(signature(config["num_layers"]))
        done.append(entry)
        report(len(done))
    return done


def signature(num_layers: int) -> dict[str, list[str]]:
    """Names of a graph's inputs and outputs, in binding order (graph contract, version 1)."""
    cache = [(i, part) for i in range(num_layers) for part in ("key", "value")]
    return {
        "inputs": ["input_ids", "position", "valid_length"]
        + ["past.%d.%s" % pair for pair in cache],
        "outputs": ["logits"] + ["present.%d.%s" % pair for pair in cache],
    }


def _share_weights(
    scratch: str,
    out_dir: str,
    weights_dir: str,
    name: str,
    index: WeightsIndex,
    arrays: Mapping[str, NDArray[Any]],
    cache_names: list[str],
) -> dict[str, Any]:
    """Point what MindSpore wrote at the shared weights file, after comparing both.

    The nodes that write the cache are named alike in every graph (`mindir_names`).
    """
    written = [f for f in os.listdir(scratch) if f.endswith(".mindir")]
    if len(written) != 1:
        raise ToolchainError("MindSpore wrote {files} instead of one MindIR.", files=str(written))
    source = os.path.join(scratch, written[0])
    os.chmod(source, 0o644)
    folder = os.path.basename(weights_dir)
    places: dict[str, tuple[str, int, int]] = {}
    for parameter in mindir.list_parameters(source):
        if parameter.name not in index.tensors:
            raise ToolchainError(
                "MindSpore wrote a parameter {name} that the model does not have.",
                name=parameter.name,
            )
        path = os.path.join(scratch, parameter.location) if parameter.location else source
        if not _same_bytes(path, parameter, arrays[parameter.name]):
            raise ToolchainError(
                "MindSpore wrote other weights than it was given ({name}).", name=parameter.name
            )
        entry = index.tensors[parameter.name]
        places[parameter.name] = (folder + "/" + index.file, entry["offset"], entry["nbytes"])
    missing = sorted(set(index.tensors) - set(places))
    if missing:
        raise ToolchainError("MindSpore left parameters out: {names}", names=", ".join(missing))
    target = os.path.join(out_dir, name)
    shared = os.path.join(scratch, "shared")
    mindir.rewrite_parameters(source, shared, places)
    mindir_names.name_outputs(shared, target, cache_names)
    os.chmod(target, 0o644)
    return {"file": name, "mindir_version": mindir.read_version(target)}


def _same_bytes(path: str, parameter: mindir.StoredParameter, expected: NDArray[Any]) -> bool:
    if parameter.length != expected.nbytes:
        return False
    wanted = expected.reshape(-1).view(np.uint8)
    with open(path, "rb") as file:
        file.seek(parameter.offset)
        for at in range(0, parameter.length, _COMPARE_BYTES):
            block = wanted[at : at + _COMPARE_BYTES]
            if file.read(block.nbytes) != block.tobytes():
                return False
    return True
