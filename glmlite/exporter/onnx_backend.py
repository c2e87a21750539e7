"""ONNX graphs: written by our own emitter, proved on ONNX Runtime; no MindSpore, no toolchain."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import glmlite
from glmlite.bundle.bundle import Bundle
from glmlite.bundle.manifest import FileEntry, GraphEntry, Manifest, ParityEntry, WeightsEntry
from glmlite.errors import ExportError
from glmlite.exporter.onnx_graph import export_onnx
from glmlite.exporter.onnx_graph.builder import import_onnx
from glmlite.exporter.parity import TOLERANCES, check, compare_graphs, to_entry
from glmlite.exporter.plan import ExportPlan
from glmlite.exporter.weights import INDEX, PREFIX_CACHE, WEIGHTS, weights_bytes
from glmlite.i18n import _
from glmlite.progress import Progress
from glmlite.runtime.engines.base import Float32Array, Int32Array
from glmlite.runtime.engines.interrupts import interrupt_deferred
from glmlite.runtime.engines.options import EngineOptions


class OnnxBackend:
    """A `Backend`.

    Args:
        versions: of the packages that make and run the graphs.
    """

    def __init__(self, versions: Mapping[str, str]) -> None:
        self._versions = versions

    @classmethod
    def find(cls, *, proving: bool) -> OnnxBackend:
        """The backend over this interpreter's packages.

        Args:
            proving: whether graphs will be run as well.

        Raises:
            ExportError: a package is missing.
        """
        versions = {"onnx": str(import_onnx().__version__)}
        if proving:
            versions["onnxruntime"] = str(_import_onnxruntime().__version__)
        return cls(versions)

    @property
    def maps_weights(self) -> bool:
        """See `Backend.maps_weights`."""
        return True

    def export(self, folder: Path, plan: ExportPlan, progress: Progress) -> tuple[GraphEntry, ...]:
        """See `Backend.export`."""
        return export_onnx(folder, plan, progress)

    def compared(self, plan: ExportPlan, graphs: Sequence[GraphEntry]) -> Sequence[GraphEntry]:
        """See `Backend.compared`: dynamic graphs are fed every chunk size of the recipe."""
        return [
            dataclasses.replace(graph, tokens=tokens)
            for graph in graphs
            for tokens in ([graph.tokens] if graph.tokens else plan.chunks[graph.phase])
        ]

    def compare(
        self,
        folder: Path,
        plan: ExportPlan,
        graphs: Sequence[GraphEntry],
        sequences: Sequence[Int32Array],
        expected: Sequence[Float32Array],
        progress: Progress,
    ) -> tuple[ParityEntry, ...]:
        """See `Backend.compare`. Graphs compute in float32, whatever the weights' dtype is."""
        from glmlite.runtime.engines.onnx import open_onnx
        from glmlite.runtime.engines.onnx_memory import shortage

        label = f"onnx {self._versions['onnxruntime']}"
        progress.stage(_("Comparing graphs on {engine}", engine=label), len(graphs), _("graphs"))
        tolerance = TOLERANCES["float32"]
        written = {g.file: g for g in graphs}
        staged = staged_bundle(folder, plan, graphs)
        short = shortage(staged)
        if short:
            raise ExportError(
                "Comparing all layers with the reference takes {needed:.1f} GiB for weights that "
                "ONNX Runtime widens to float32; {available:.1f} GiB are free.",
                hint="Compare the first layers, or nothing: --set export.parity=layers:2 (or off)",
                needed=short[0] / 2**30,
                available=short[1] / 2**30,
            )
        opened = open_onnx(staged, EngineOptions(device="cpu"))
        try:
            found = compare_graphs(
                opened, graphs, sequences, expected, plan.prefix_length, tolerance.tie
            )
        finally:
            opened.close()
        progress.advance(len(graphs))
        for file, difference in found.items():
            check(file, label, difference, tolerance, made_by="glmlite")
        layers = plan.model.num_layers
        return tuple(to_entry(file, label, found[file], layers) for file in written)

    def producer(self) -> Mapping[str, str]:
        """See `Backend.producer`."""
        return {**self._versions, "python": platform.python_version()}


def staged_bundle(folder: Path, plan: ExportPlan, graphs: Sequence[GraphEntry]) -> Bundle:
    """A bundle over a folder that has no manifest yet, for an engine to open; nothing is hashed."""
    files = (p for p in folder.rglob("*") if p.is_file())
    # One entry for each phase, as the manifest will have it.
    phases: dict[str, Any] = {g.phase: dataclasses.replace(g, tokens=0) for g in graphs}
    phases["decode"] = dataclasses.replace(phases["decode"], tokens=1)
    return Bundle(
        folder,
        Manifest(
            model=plan.model,
            family=plan.family,
            tokenizer=None,
            graphs=tuple(phases.values()),
            weights=WeightsEntry(
                plan.dtype, "none", weights_bytes(plan.model, plan.dtype), f"{WEIGHTS}/{INDEX}"
            ),
            files={
                p.relative_to(folder).as_posix(): FileEntry(p.stat().st_size, "") for p in files
            },
            prefix_length=plan.prefix_length,
            prefix_cache=PREFIX_CACHE if plan.prefix_length else None,
            parity=(),
            producer={"glmlite": glmlite.__version__},
            checkpoint={},
        ),
    )


def _import_onnxruntime() -> Any:
    try:
        with interrupt_deferred():
            import onnxruntime
    except ImportError as error:
        raise ExportError(
            "The proof of an ONNX export needs ONNX Runtime, which cannot be imported: {error}",
            hint="pip install 'glmlite[onnx]', or do without the proof: --set export.parity=off",
            error=str(error),
        ) from error
    return onnxruntime
