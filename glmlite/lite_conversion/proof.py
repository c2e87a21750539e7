"""The proof that Lite's graphs compute what the reference computes, through the engine itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from glmlite.bundle import Bundle
from glmlite.bundle.manifest import GraphEntry, ParityEntry
from glmlite.bundle.weights import BundleWeights
from glmlite.exporter.parity import TOLERANCES, check, compare_graphs, parity_sequences, to_entry
from glmlite.exporter.weights import INDEX, WEIGHTS
from glmlite.i18n import _
from glmlite.model import reference
from glmlite.progress import Progress
from glmlite.runtime.engines.graphs import GraphSet
from glmlite.runtime.engines.interpreter import Interpreter
from glmlite.runtime.engines.options import EngineOptions


def prove(
    bundle: Bundle,
    folder: Path,
    graphs: Sequence[GraphEntry],
    interpreter: Interpreter,
    progress: Progress,
) -> tuple[ParityEntry, ...]:
    """Compare every graph in `folder` with the reference over the weights that lie there.

    Args:
        bundle: the source: sizes and prefix.
        folder: staged.
        graphs: in it.
        interpreter: has MindSpore Lite.
        progress: gets a stage for the reference and one for Lite.

    Raises:
        ParityError: a graph differs by more than float32 may.
        EngineError: Lite cannot run a graph.
    """
    manifest, model = bundle.manifest, bundle.manifest.model
    sequences = parity_sequences(model, graphs, manifest.prefix_length)
    progress.stage(_("Computing the reference"), model.num_layers, _("layers"))
    expected = reference.forward(
        model,
        BundleWeights(folder / WEIGHTS / INDEX),
        [s.tolist() for s in sequences],
        prefix=bundle.prefix_cache(),
        progress=progress,
    )
    label, tolerance = f"lite {interpreter.lite}", TOLERANCES["float32"]
    progress.stage(_("Comparing graphs on {engine}", engine=label), len(graphs), _("graphs"))
    entries = []
    for length in sorted({g.cache_length for g in graphs}):
        some = [g for g in graphs if g.cache_length == length]
        opened = GraphSet(
            folder=folder,
            graphs=some,
            model=model,
            dtype="float32",
            prefix_length=manifest.prefix_length,
            prefix_cache=manifest.prefix_cache,
            producer="-",
        ).open("lite", EngineOptions(device="cpu"), os.fspath(interpreter.python))
        try:
            found = compare_graphs(
                opened, some, sequences, expected, manifest.prefix_length, tolerance.tie
            )
        finally:
            opened.close()
        for file, difference in found.items():
            check(file, label, difference, tolerance, made_by="lite")
            entries.append(to_entry(file, label, difference, model.num_layers))
        progress.advance(len(some))
    return tuple(entries)
