"""Runs the parity proof of a staged bundle on the engines that the toolchain has."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from glmlite.bundle.manifest import GraphEntry, ParityEntry
from glmlite.exporter.graphs import export_mindir
from glmlite.exporter.parity import (
    TOLERANCES,
    check,
    compare_graphs,
    parity_sequences,
    to_entry,
)
from glmlite.exporter.plan import ExportPlan
from glmlite.exporter.weights import PREFIX_CACHE, WEIGHTS, write_prefix, write_weights
from glmlite.i18n import _
from glmlite.model import reference
from glmlite.progress import NoProgress, Progress
from glmlite.runtime.engines.base import Float32Array, Int32Array
from glmlite.runtime.engines.graphs import GraphSet
from glmlite.runtime.engines.interpreter import Interpreter
from glmlite.runtime.engines.options import EngineOptions


def prove(
    folder: Path,
    plan: ExportPlan,
    graphs: Sequence[GraphEntry],
    interpreter: Interpreter,
    progress: Progress,
) -> tuple[ParityEntry, ...]:
    """Compare every graph in `folder` with the reference, as the plan's `parity` says.

    With fewer layers than the model has, graphs of the first layers are exported for the purpose
    and dropped again: the same network source, weights and sizes.

    Raises:
        ParityError: a graph differs by more than the dtype's tolerance.
    """
    if plan.parity_layers == 0:
        return ()
    if plan.parity_layers < plan.model.num_layers:
        scratch = folder / ".parity"
        scratch.mkdir()
        try:
            part = plan.first_layers(plan.parity_layers)
            progress.stage(_("Writing {count} layers for parity", count=plan.parity_layers))
            write_weights(plan.checkpoint, part.model, plan.dtype, scratch / WEIGHTS, NoProgress())
            write_prefix(part.prefix, scratch)
            part_graphs = export_mindir(scratch, part, interpreter, progress)
            return _prove_all(scratch, part, part_graphs, interpreter, progress)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return _prove_all(folder, plan, graphs, interpreter, progress)


def _prove_all(
    folder: Path,
    plan: ExportPlan,
    graphs: Sequence[GraphEntry],
    interpreter: Interpreter,
    progress: Progress,
) -> tuple[ParityEntry, ...]:
    sequences = parity_sequences(plan.model, graphs, plan.prefix_length)
    progress.stage(_("Computing the reference"), plan.model.num_layers, _("layers"))
    expected = reference.forward(
        plan.model,
        plan.checkpoint,
        [s.tolist() for s in sequences],
        prefix=plan.prefix,
        weight_dtype=plan.dtype,
        progress=progress,
    )
    engines = ["mindspore"] + (["lite"] if interpreter.lite else [])
    entries: list[ParityEntry] = []
    for engine in engines:
        version = interpreter.mindspore if engine == "mindspore" else interpreter.lite
        label = f"{engine} {version}"
        progress.stage(_("Comparing graphs on {engine}", engine=label), len(graphs), _("graphs"))
        for length in sorted({g.cache_length for g in graphs}):
            some = GraphSet(
                folder=folder,
                graphs=[g for g in graphs if g.cache_length == length],
                model=plan.model,
                dtype=plan.dtype,
                prefix_length=plan.prefix_length,
                prefix_cache=PREFIX_CACHE if plan.prefix_length else None,
                producer=interpreter.mindspore or "?",
            )
            entries += _prove_length(some, engine, label, interpreter.python, sequences, expected)
            progress.advance(len(some.graphs))
    return tuple(entries)


def _prove_length(
    graphs: GraphSet,
    engine: str,
    label: str,
    python: str,
    sequences: Sequence[Int32Array],
    expected: Sequence[Float32Array],
) -> list[ParityEntry]:
    tolerance = TOLERANCES[graphs.dtype]
    opened = graphs.open(engine, EngineOptions(device="cpu"), python)
    try:
        found = compare_graphs(
            opened, graphs.graphs, sequences, expected, graphs.prefix_length, tolerance.tie
        )
    finally:
        opened.close()
    for file, difference in found.items():
        check(file, label, difference, tolerance)
    return [to_entry(f, label, d, graphs.model.num_layers) for f, d in found.items()]
