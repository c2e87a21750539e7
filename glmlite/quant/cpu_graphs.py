"""The graphs of a quantized bundle, and how far they lie from the reference."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from pathlib import Path

import numpy as np

from glmlite.bundle import Bundle, BundleWeights
from glmlite.bundle.manifest import GraphEntry, Manifest, ParityEntry, Phase
from glmlite.errors import ParityError
from glmlite.exporter.onnx_graph import emit_graph
from glmlite.exporter.onnx_graph.export import MODEL_FILE, names_of
from glmlite.exporter.parity import TOLERANCES, compare_graphs, parity_sequences, to_entry
from glmlite.i18n import _
from glmlite.model import reference
from glmlite.model.parameters import OUTPUT, parameter_shapes
from glmlite.progress import Progress
from glmlite.quant.activations import rounder, rounding_of
from glmlite.quant.calibration import run_layers
from glmlite.quant.cpu_source import CpuSource
from glmlite.runtime.engines.base import Float32Array, Int32Array
from glmlite.runtime.engines.options import EngineOptions
from glmlite.toolchain.quantized import PREFILL
from glmlite.toolchain.weights import WeightsIndex

PREFILL_FILE = "prefill.onnx"
# Smallest cosine of a row of logits and the reference's. The reference rounds activations as the
# engine does, but a value between two steps may go either way, and what follows goes with it.
LEAST_COSINE = 0.9
# Tokens of the chunks that are compared, at most.
_CHUNK = 32


def emit_graphs(
    folder: Path, source: CpuSource, index: WeightsIndex, has_prefill: bool, progress: Progress
) -> tuple[GraphEntry, ...]:
    """Write the graphs over the weights in `folder`.

    Args:
        folder: staged.
        source: sizes.
        index: of the weights.
        has_prefill: whether the prefill graph has weights of its own.
        progress: gets a stage.

    Raises:
        ExportError: the package onnx is missing.
    """
    files = {MODEL_FILE: "", **({PREFILL_FILE: PREFILL} if has_prefill else {})}
    progress.stage(_("Writing ONNX graphs"), len(files), _("graphs"))
    for file, prefix in files.items():
        emit_graph(
            folder,
            file,
            source.model,
            index,
            flavor="ort",
            cache_length=source.cache_length,
            prefix_length=source.prefix_length,
            weights_prefix=prefix,
            # Decoding costs the same far into a context, and a step that verifies a draft computes
            # bit by bit what plain steps do; a file for prefill alone is faster without.
            grouped=file == MODEL_FILE,
            family=source.family,
        )
        progress.advance()
    prefill = PREFILL_FILE if has_prefill else MODEL_FILE
    inputs, outputs = names_of(source.model)
    phases: tuple[tuple[Phase, int, str], ...] = (
        ("prefill", 0, prefill),
        ("decode", 1, MODEL_FILE),
        ("score", 0, MODEL_FILE),
    )
    return tuple(
        GraphEntry(
            phase=phase,
            tokens=tokens,
            cache_length=source.cache_length,
            batch_size=source.batch_size,
            format="onnx",
            flavor="ort",
            file=file,
            inputs=inputs,
            outputs=outputs,
        )
        for phase, tokens, file in phases
    )


def compare_with_reference(
    folder: Path, manifest: Manifest, source: CpuSource, progress: Progress
) -> tuple[ParityEntry, ...]:
    """Run each graph for every phase and compare it with the reference over the same weights.

    The reference computes in float32 over the dequantized weights, with activations rounded as the
    engine rounds them.

    Args:
        folder: staged.
        manifest: as it will be, parity and accuracy apart.
        source: sizes, prefix, and the chunks to be fed.
        progress: gets stages.

    Raises:
        ParityError: a graph computes something else.
        CheckpointError: the quantized network overflows.
        EngineError: ONNX Runtime is missing, or refuses a graph.
    """
    entries = []
    for file in dict.fromkeys(graph.file for graph in manifest.graphs):
        prefix = PREFILL if file == PREFILL_FILE else ""
        graphs = tuple(dataclasses.replace(graph, file=file) for graph in manifest.graphs)
        alone = Bundle(folder, dataclasses.replace(manifest, graphs=graphs))
        entries.append(_compare(alone, file, prefix, source, progress))
    return tuple(entries)


def _compare(
    bundle: Bundle, file: str, prefix: str, source: CpuSource, progress: Progress
) -> ParityEntry:
    from glmlite.runtime.engines.onnx import open_onnx

    config, room = source.model, source.cache_length - source.prefix_length
    tokens = min(_CHUNK, room, *source.chunks)
    fed = [
        dataclasses.replace(graph, tokens=graph.tokens or tokens)
        for graph in bundle.manifest.graphs
    ]
    sequences = parity_sequences(config, fed, source.prefix_length)
    progress.stage(_("Computing the reference"), config.num_layers, _("layers"))
    expected = _reference(bundle, prefix, source, sequences, progress)
    label = f"onnx {importlib.metadata.version('onnxruntime')}"
    progress.stage(_("Comparing graphs on {engine}", engine=label), 1, _("graphs"))
    engine = open_onnx(bundle, EngineOptions(device="cpu"))
    try:
        found = compare_graphs(engine, fed, sequences, expected, source.prefix_length, 0.0)[file]
    finally:
        engine.close()
    progress.advance()
    alike = found.max_abs <= TOLERANCES["float32"].max_abs
    if alike and not any(logits.any() for logits in expected):
        found.cosine = 1.0  # zeros have no direction, and these lie where they should
    if not (alike or found.cosine >= LEAST_COSINE):
        raise ParityError(
            "Parity failed: the logits of {graph} on {engine} are not the reference's: they differ "
            "by {found:.3g}, their cosine is {cosine:.3f}. Nothing was kept.",
            hint="Update ONNX Runtime: pip install -U onnxruntime. `glmlite doctor` shows the "
            "versions.",
            graph=file,
            engine=label,
            found=found.max_abs,
            cosine=found.cosine,
        )
    return to_entry(file, label, found, config.num_layers)


def _reference(
    bundle: Bundle,
    prefix: str,
    source: CpuSource,
    sequences: list[Int32Array],
    progress: Progress,
) -> list[Float32Array]:
    """Logits of whole sequences, [len, V] each."""
    config = source.model
    path = bundle.path / bundle.manifest.weights.index
    weights = BundleWeights(path, prefix, folded=True)
    forms = {name: weights.form(name) for name in parameter_shapes(config)}
    observe = rounder(rounding_of({name: form for name, form in forms.items() if form}))
    rows = [sequence.tolist() for sequence in sequences]
    x = run_layers(config, weights, rows, bundle.prefix_cache(), observe, progress)
    logits = x @ reference.read_weight(weights, OUTPUT).T
    return np.split(logits, np.cumsum([len(row) for row in rows])[:-1])
