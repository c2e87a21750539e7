"""What makes a bundle's graphs and runs them for the proof: MindSpore, or the ONNX emitter."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from glmlite.bundle.manifest import GraphEntry, ParityEntry
from glmlite.errors import ConfigError
from glmlite.exporter.config import ExportSection
from glmlite.exporter.mindir_backend import MindIRBackend
from glmlite.exporter.onnx_backend import OnnxBackend
from glmlite.exporter.plan import ExportPlan
from glmlite.progress import Progress
from glmlite.runtime.engines.base import Float32Array, Int32Array


class Backend(Protocol):
    """Makes graphs of one format."""

    @property
    def maps_weights(self) -> bool:
        """Whether its engines read no more of a weights file than their graphs need."""

    def export(self, folder: Path, plan: ExportPlan, progress: Progress) -> tuple[GraphEntry, ...]:
        """Write the plan's graphs into `folder`, which holds weights and prefix already."""

    def compared(self, plan: ExportPlan, graphs: Sequence[GraphEntry]) -> Sequence[GraphEntry]:
        """The graphs at the sizes that the proof feeds them."""

    def compare(
        self,
        folder: Path,
        plan: ExportPlan,
        graphs: Sequence[GraphEntry],
        sequences: Sequence[Int32Array],
        expected: Sequence[Float32Array],
        progress: Progress,
    ) -> tuple[ParityEntry, ...]:
        """Run the graphs in `folder` on every engine there is and compare their logits.

        Args:
            folder: of the staged bundle.
            plan: what was exported.
            graphs: from `compared`.
            sequences: ids of each row.
            expected: the reference's logits of them.
            progress: gets a stage for each engine.

        Raises:
            ParityError: a graph differs by more than it may.
        """

    def producer(self) -> Mapping[str, str]:
        """Names and versions for the manifest."""


def choose_backend(export: ExportSection, toolchain: str | os.PathLike[str] | None) -> Backend:
    """The backend of a recipe's format.

    Args:
        export: of the recipe.
        toolchain: as the caller named it.

    Raises:
        ExportError: what it needs is not installed.
        ConfigError: a toolchain is named that nothing would run in.
    """
    if export.format == "mindir":
        return MindIRBackend.find(toolchain)
    if toolchain is not None:
        raise ConfigError(
            "export.format is onnx, and a toolchain is named ({python}); ONNX export uses none.",
            hint="Leave --toolchain out, or --set export.format=mindir.",
            python=str(toolchain),
        )
    return OnnxBackend.find(proving=export.parity.mode != "off")
