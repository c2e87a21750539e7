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
from glmlite.exporter.weights import PREFIX_CACHE
from glmlite.i18n import _
from glmlite.progress import Progress
from glmlite.runtime.engines.base import Float32Array, Int32Array
from glmlite.runtime.engines.graphs import GraphSet
from glmlite.runtime.engines.interpreter import Interpreter, find_toolchain
from glmlite.runtime.engines.options import EngineOptions


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
        entries: list[ParityEntry] = []
        for engine in engines:
            label = f"{engine} {self._interpreter.packages[_PACKAGES[engine]]}"
            progress.stage(
                _("Comparing graphs on {engine}", engine=label), len(graphs), _("graphs")
            )
            for length in sorted({g.cache_length for g in graphs}):
                some = GraphSet(
                    folder=folder,
                    graphs=[g for g in graphs if g.cache_length == length],
                    model=plan.model,
                    dtype=plan.dtype,
                    prefix_length=plan.prefix_length,
                    prefix_cache=PREFIX_CACHE if plan.prefix_length else None,
                    producer=self._interpreter.mindspore or "?",
                )
                entries += self._compare_length(some, engine, label, sequences, expected)
                progress.advance(len(some.graphs))
        return tuple(entries)

    def _compare_length(
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


_PACKAGES = {"mindspore": "mindspore", "lite": "mindspore-lite"}
