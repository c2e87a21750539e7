"""int8 graphs without a converter: glmlite's own network over integer weights.

MindSpore runs int8. Lite 2.0.0 has no kernel that casts from it, but one for uint8, so there the
values lie 128 higher and the zero points 128 lower. Files shrink, memory does not: engines for CPUs
turn the integers into float32 as they load.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glmlite.bundle import Bundle
from glmlite.bundle.manifest import GraphEntry, ParityEntry
from glmlite.bundle.weights import BundleWeights
from glmlite.errors import ExportError
from glmlite.exporter.graphs import export_mindir
from glmlite.exporter.parity import (
    Tolerance,
    check,
    compare_graphs,
    parity_sequences,
    to_entry,
)
from glmlite.exporter.weights import INDEX, WEIGHTS
from glmlite.i18n import _
from glmlite.model import reference
from glmlite.model.config import ModelConfig
from glmlite.progress import Progress
from glmlite.quant.weights import Integer
from glmlite.runtime.engines.graphs import GraphSet
from glmlite.runtime.engines.interpreter import Interpreter
from glmlite.runtime.engines.options import EngineOptions

# Of the largest logit.
TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class PortablePlan:
    """A `GraphPlan` of the same graphs as a bundle's, in float32."""

    model: ModelConfig
    graphs: tuple[dict[str, Any], ...]
    prefix_length: int
    dtype: str = "float32"


def choose_integer(interpreter: Interpreter) -> Integer:
    """uint8 where Lite may run the graphs, else int8."""
    return "uint8" if interpreter.lite else "int8"


def export_portable(
    bundle: Bundle, folder: Path, interpreter: Interpreter, progress: Progress
) -> tuple[GraphEntry, ...]:
    """Export the graphs of `bundle` anew, over the integer weights that lie in `folder/weights`.

    Raises:
        ExportError: the toolchain has no MindSpore, or the export failed.
    """
    if interpreter.mindspore is None:
        raise ExportError(
            "MindIR export needs MindSpore, and {python} does not have it.",
            hint="pip install 'glmlite[mindspore]', or name an interpreter that has it: "
            "--toolchain .toolchain/bin/python (made by `make toolchain`).",
            python=interpreter.python,
        )
    manifest = bundle.manifest
    keys = ("phase", "tokens", "cache_length", "batch_size")
    graphs = tuple({key: getattr(graph, key) for key in keys} for graph in manifest.graphs)
    plan = PortablePlan(manifest.model, graphs, manifest.prefix_length)
    return export_mindir(folder, plan, interpreter, progress)


def compare(
    bundle: Bundle,
    folder: Path,
    graphs: Sequence[GraphEntry],
    engines: Sequence[tuple[str, str | None]],
    interpreter: Interpreter,
    progress: Progress,
    *,
    refuse: bool,
) -> tuple[ParityEntry, ...]:
    """Run the new graphs and compare them with the reference over the same integer weights.

    Args:
        bundle: the source: sizes, prefix.
        folder: staged; holds graphs, weights and prefix.
        graphs: in `folder`.
        engines: names and versions.
        interpreter: what they run in.
        progress: gets a stage for the reference and one for each engine.
        refuse: whether a difference of more than 1e-3 of the largest logit is an error; else it is
            only recorded (an engine that rounds activations as well computes something else).

    Raises:
        ParityError: a graph differs.
        EngineError: an engine cannot run a graph.
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
    allowed = TOLERANCE * max(float(np.abs(logits).max()) for logits in expected)
    tolerance = Tolerance(allowed, top1=0.99, tie=2 * allowed)
    entries = []
    for engine, version in engines:
        label = f"{engine} {version}"
        progress.stage(_("Comparing graphs on {engine}", engine=label), len(graphs), _("graphs"))
        for length in sorted({g.cache_length for g in graphs}):
            some = [g for g in graphs if g.cache_length == length]
            opened = GraphSet(
                folder=folder,
                graphs=some,
                model=model,
                dtype="float32",
                prefix_length=manifest.prefix_length,
                prefix_cache=manifest.prefix_cache,
                producer=interpreter.mindspore or "?",
            ).open(engine, EngineOptions(device="cpu"), interpreter.python)
            try:
                found = compare_graphs(
                    opened, some, sequences, expected, manifest.prefix_length, tolerance.tie
                )
            finally:
                opened.close()
            for file, difference in found.items():
                if refuse:
                    check(file, label, difference, tolerance)
                entries.append(to_entry(file, label, difference, model.num_layers))
            progress.advance(len(some))
    return tuple(entries)
