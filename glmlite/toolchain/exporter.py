"""Compiles the network into MindIR graphs that share one weights file."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

from . import mindir, mindir_names
from .errors import ToolchainError
from .mindir_quant import list_typed_parameters
from .weights import WeightsIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


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

    MindSpore does not see the weights (`tracing`). Each parameter that it puts into a graph is
    compared by name, dtype and shape with the index, which tells where its bytes lie.

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
        ToolchainError: MindSpore is missing, failed, or wrote other parameters than it was given.
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
    from . import mindspore_backend, network, tracing

    mindspore_backend.set_cpu(ms)
    index = WeightsIndex.read(os.path.join(weights_dir, "index.json"))
    params = tracing.hollow_parameters(ms, index.tensors)
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
            traced = tracing.trace(ms, net, inputs, scratch)
            places = _places(traced, index, os.path.basename(weights_dir))
            shared = os.path.join(scratch, "shared")
            mindir.rewrite_parameters(traced, shared, places)
            # The nodes that write the cache are named alike in every graph.
            names = mindir_names.cache_names(config["num_layers"], graph["cache_length"])
            target = os.path.join(out_dir, graph_file(graph))
            mindir_names.name_outputs(shared, target, names)
            os.chmod(target, 0o644)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        entry = {"file": graph_file(graph), "mindir_version": mindir.read_version(target)}
        done.append(dict(entry, **signature(config["num_layers"])))
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


def _places(traced: str, index: WeightsIndex, folder: str) -> dict[str, mindir.Place]:
    """Where the bytes of a graph's parameters lie, after comparing what it says of them.

    Raises:
        ToolchainError: the graph has other parameters than the index.
    """
    places: dict[str, mindir.Place] = {}
    for parameter in list_typed_parameters(traced):
        name = parameter.stored.name
        if name not in index.tensors:
            raise ToolchainError(
                "MindSpore wrote a parameter {name} that the model does not have.", name=name
            )
        entry = index.tensors[name]
        found = (parameter.dtype, list(parameter.shape))
        if found != (entry["dtype"], list(entry["shape"])):
            raise ToolchainError(
                "MindSpore wrote {name} as {found} instead of {expected}.",
                name=name,
                found="%s %s" % found,
                expected="%s %s" % (entry["dtype"], entry["shape"]),
            )
        places[name] = (folder + "/" + index.file, entry["offset"], entry["nbytes"])
    missing = sorted(set(index.tensors) - set(places))
    if missing:
        raise ToolchainError("MindSpore left parameters out: {names}", names=", ".join(missing))
    return places
