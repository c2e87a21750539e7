"""What must hold of a bundle's ONNX graphs before ONNX Runtime opens one of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from glmlite.bundle.contents import check_weights
from glmlite.bundle.manifest import GraphEntry, Manifest
from glmlite.bundle.onnx_file import OnnxFile, OnnxFileError, TensorType
from glmlite.bundle.onnx_reader import read_onnx_file
from glmlite.errors import BundleError, EngineError
from glmlite.i18n import _
from glmlite.model.config import ModelConfig

DOMAINS = {"", "com.microsoft"}
ALL_LOGITS = "all_logits"
_OPTIONAL = TensorType(ALL_LOGITS, "int32", ())


def check_onnx_graphs(
    folder: Path, manifest: Manifest, graphs: Iterable[GraphEntry]
) -> dict[str, OnnxFile]:
    """See that ONNX graphs are the manifest's and read no bytes but those of the weights file.

    Args:
        folder: of the bundle.
        manifest: of the bundle.
        graphs: ONNX ones, about to be opened; several may name one file.

    Returns:
        Graph file -> what it says of itself.

    Raises:
        BundleError: a graph names another file, or bytes that the file does not have, or takes and
            gives something else than the manifest says.
        EngineError: one is no ONNX graph, or has operators of an unknown domain.
    """
    data = check_weights(folder, manifest)
    found: dict[str, OnnxFile] = {}
    for graph in graphs:
        if graph.file not in found:
            found[graph.file] = _check_file(folder, graph.file, data, manifest.files[data].size)
        _check_signature(graph, found[graph.file], manifest)
    return found


def _check_file(folder: Path, file: str, data: str, size: int) -> OnnxFile:
    path = folder / file
    try:
        # By its suffix ONNX Runtime decides on another format, which nothing here has read.
        if not file.endswith(".onnx"):
            raise OnnxFileError(_("its name does not end in .onnx"))
        graph = read_onnx_file(path)
    except (OnnxFileError, OSError) as error:
        raise EngineError(
            "{path} is no ONNX graph that glmlite opens: {error}.",
            hint="Get the bundle again from where it was made, or export it again.",
            path=str(path),
            error=str(error),
        ) from error
    if unknown := sorted(graph.domains - DOMAINS):
        raise EngineError(
            "{path} has operators of the domains {unknown}; glmlite opens standard ones and those "
            "of com.microsoft.",
            hint="Do not use this bundle; export the checkpoint yourself.",
            path=str(path),
            unknown=", ".join(unknown)[:200],
        )
    for tensor in graph.initializers:
        if tensor.location is None:
            continue
        if (PurePosixPath(file).parent / tensor.location).as_posix() != data:
            raise BundleError(
                "{graph} reads {name} from {path!r}, which is no weights file of this bundle.",
                hint="Do not use this bundle; copy it again, or export it again.",
                graph=file,
                name=tensor.name,
                path=tensor.location,
            )
        if tensor.offset + tensor.length > size:
            raise BundleError(
                "{graph} reads {name} from bytes that {path} does not have.",
                hint="Get the bundle again from where it was made, or export it again.",
                graph=file,
                name=tensor.name,
                path=data,
            )
    return graph


def _check_signature(entry: GraphEntry, graph: OnnxFile, manifest: Manifest) -> None:
    fault = _find_fault(entry, graph, manifest.model)
    if fault:
        raise BundleError(
            "{graph} does not follow the graph contract: {fault}.",
            hint="Get the bundle again from where it was made, or export it again.",
            graph=entry.file,
            fault=fault,
        )


def _find_fault(entry: GraphEntry, graph: OnnxFile, model: ModelConfig) -> str | None:
    """What is not as the contract says: ids, positions, lengths and cache in; logits, cache out."""
    inputs, outputs = graph.required_inputs, graph.outputs
    optional = [info for info in graph.inputs if info not in inputs]
    caches = 2 * model.num_layers
    if tuple(i.name for i in inputs) != entry.inputs or len(inputs) != caches + 3:
        return _("its inputs are not the manifest's")
    if tuple(o.name for o in outputs) != entry.outputs or len(outputs) != caches + 1:
        return _("its outputs are not the manifest's")
    if any(info != _OPTIONAL for info in optional):
        return _("it has inputs that no contract knows")
    if [(i.dtype, len(i.shape)) for i in inputs[:3]] != [("int32", n) for n in (2, 1, 1)]:
        return _("its first inputs are not input_ids, position and valid_length")
    every_row = entry.flavor == "ort" or entry.phase == "score"
    rank, logits = (3 if every_row else 2), outputs[0]
    if (logits.dtype, logits.shape[-1:], len(logits.shape)) != (
        "float32",
        (model.vocab_size,),
        rank,
    ):
        return _("its first output is not the logits")
    layout = ("float32", (model.num_groups, model.head_dim), 4)
    if any((i.dtype, i.shape[1::2], len(i.shape)) != layout for i in (*inputs[3:], *outputs[1:])):
        return _("its cache is not the model's")
    chosen = [*(i.shape for i in inputs[:3]), *(i.shape[::2] for i in inputs[3:])]
    if any(isinstance(n, int) for shape in chosen for n in shape):
        return _("its batch size or cache length is fixed")
    if entry.flavor == "ort" and entry.phase == "score" and not optional:
        return _("it has no input {name}", name=ALL_LOGITS)
    return None
