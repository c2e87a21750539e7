"""Runs the parity proof of a staged bundle on the engines that can run its graphs."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from glmlite.bundle.manifest import GraphEntry, ParityEntry
from glmlite.exporter.backends import Backend
from glmlite.exporter.parity import parity_sequences
from glmlite.exporter.plan import ExportPlan
from glmlite.exporter.weights import WEIGHTS, link_weights, write_prefix, write_weights
from glmlite.i18n import _
from glmlite.model import reference
from glmlite.progress import NoProgress, Progress


def prove(
    folder: Path,
    plan: ExportPlan,
    graphs: Sequence[GraphEntry],
    backend: Backend,
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
            progress.stage(_("Exporting {count} layers for parity", count=plan.parity_layers))
            _give_weights(folder / WEIGHTS, scratch / WEIGHTS, part, backend)
            write_prefix(part.prefix, scratch)
            part_graphs = backend.export(scratch, part, progress)
            return _prove_all(scratch, part, part_graphs, backend, progress)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return _prove_all(folder, plan, graphs, backend, progress)


def _give_weights(whole: Path, folder: Path, part: ExportPlan, backend: Backend) -> None:
    """The weights of a part of the model: in the bundle's own file, if that may be, or copied."""
    if backend.maps_weights:
        with contextlib.suppress(OSError):  # a file system without hard links
            link_weights(whole, folder, part.model)
            return
    write_weights(part.checkpoint, part.model, part.dtype, folder, NoProgress())


def _prove_all(
    folder: Path,
    plan: ExportPlan,
    graphs: Sequence[GraphEntry],
    backend: Backend,
    progress: Progress,
) -> tuple[ParityEntry, ...]:
    graphs = backend.compared(plan, graphs)
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
    return backend.compare(folder, plan, graphs, sequences, expected, progress)
