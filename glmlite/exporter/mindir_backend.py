"""MindIR graphs: exported by the toolchain's MindSpore, proved on the engines that it has."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from glmlite.bundle.manifest import GraphEntry, ParityEntry
from glmlite.errors import ExportError
from glmlite.exporter.graphs import export_mindir
from glmlite.exporter.parity import TOLERANCES, check, compare_graphs, to_entry
from glmlite.exporter.plan import ExportPlan
from glmlite.exporter.weights import PREFIX_CACHE, weights_bytes
from glmlite.i18n import _
from glmlite.progress import Progress
from glmlite.runtime.engines.base import Float32Array, Int32Array
from glmlite.runtime.engines.graphs import GraphSet
from glmlite.runtime.engines.interpreter import Interpreter, find_toolchain
from glmlite.runtime.engines.options import EngineOptions

# On CPUs MindSpore Lite 2.0.0 holds, and does not share, six times a float16 graph's weights, and
# it cannot be relied on to build a graph in a process that dropped one. Above so many bytes each
# graph has a process of its own, so that Lite's prefill and decode graphs do not meet.
ALONE_BYTES = 256 << 20


class MindIRBackend:
    """A `Backend`.

    Args:
        interpreter: has MindSpore.
    """

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter

    @classmethod
    def find(cls, toolchain: str | os.PathLike[str] | None) -> MindIRBackend:
        """The backend over the toolchain.

        Raises:
            ExportError: it has no MindSpore.
        """
        interpreter = find_toolchain(toolchain)
        if interpreter.mindspore is None:
            raise ExportError(
                "MindIR export needs MindSpore, and {python} does not have it.",
                hint="pip install 'glmlite[mindspore]', or name an interpreter that has it: "
                "--toolchain .toolchain/bin/python (made by `make toolchain`). ONNX needs "
                "neither: --set export.format=onnx.",
                python=interpreter.python,
            )
        return cls(interpreter)

    @property
    def maps_weights(self) -> bool:
        """See `Backend.maps_weights`: Lite reads all of a weights file, whatever it needs of it."""
        return not self._interpreter.lite

    def export(self, folder: Path, plan: ExportPlan, progress: Progress) -> tuple[GraphEntry, ...]:
        """See `Backend.export`."""
        return export_mindir(folder, plan, self._interpreter, progress)

    def compared(self, plan: ExportPlan, graphs: Sequence[GraphEntry]) -> Sequence[GraphEntry]:
        """See `Backend.compared`: MindIR graphs have fixed sizes."""
        return graphs

    def compare(
        self,
        folder: Path,
        plan: ExportPlan,
        graphs: Sequence[GraphEntry],
        sequences: Sequence[Int32Array],
        expected: Sequence[Float32Array],
        progress: Progress,
    ) -> tuple[ParityEntry, ...]:
        """See `Backend.compare`."""
        engines = ["mindspore"] + (["lite"] if self._interpreter.lite else [])
        size = weights_bytes(plan.model, plan.dtype)
        entries: list[ParityEntry] = []
        for engine in engines:
            label = f"{engine} {self._interpreter.packages[_PACKAGES[engine]]}"
            progress.stage(
                _("Comparing graphs on {engine}", engine=label), len(graphs), _("graphs")
            )
            alone = engine == "lite" and size > ALONE_BYTES
            for group in _groups(graphs, alone):
                some = GraphSet(
                    folder=folder,
                    graphs=group,
                    model=plan.model,
                    dtype=plan.dtype,
                    prefix_length=plan.prefix_length,
                    prefix_cache=PREFIX_CACHE if plan.prefix_length else None,
                    producer=self._interpreter.mindspore or "?",
                )
                entries += self._compare_group(some, engine, label, sequences, expected)
                progress.advance(len(some.graphs))
        return tuple(entries)

    def _compare_group(
        self,
        graphs: GraphSet,
        engine: str,
        label: str,
        sequences: Sequence[Int32Array],
        expected: Sequence[Float32Array],
    ) -> list[ParityEntry]:
        tolerance = TOLERANCES[graphs.dtype]
        opened = graphs.open(engine, EngineOptions(device="cpu"), self._interpreter.python)
        try:
            found = compare_graphs(
                opened, graphs.graphs, sequences, expected, graphs.prefix_length, tolerance.tie
            )
        finally:
            opened.close()
        for file, difference in found.items():
            check(file, label, difference, tolerance)
        return [to_entry(f, label, d, graphs.model.num_layers) for f, d in found.items()]

    def producer(self) -> Mapping[str, str]:
        """See `Backend.producer`."""
        found = self._interpreter
        return {"mindspore": found.mindspore or "", "python": found.version}


def _groups(graphs: Sequence[GraphEntry], alone: bool) -> list[list[GraphEntry]]:
    """The graphs that an engine is opened with: those of one cache length, or one by one."""
    if alone:
        return [[graph] for graph in graphs]
    lengths = sorted({g.cache_length for g in graphs})
    return [[g for g in graphs if g.cache_length == length] for length in lengths]


_PACKAGES = {"mindspore": "mindspore", "lite": "mindspore-lite"}
