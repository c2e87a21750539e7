"""MindIR graphs through the toolchain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from glmlite.bundle.manifest import GraphEntry
from glmlite.errors import EngineError, ExportError
from glmlite.exporter.weights import WEIGHTS
from glmlite.i18n import _
from glmlite.model.config import ModelConfig
from glmlite.progress import Progress
from glmlite.runtime.engines.interpreter import Interpreter
from glmlite.runtime.engines.process import WorkerProcess


class GraphPlan(Protocol):
    """What is exported: see `ExportPlan`."""

    @property
    def model(self) -> ModelConfig:
        """The network."""

    @property
    def dtype(self) -> str:
        """Of cache and matrix products."""

    @property
    def graphs(self) -> tuple[dict[str, Any], ...]:
        """Phase, tokens, cache_length and batch_size of each graph."""

    @property
    def prefix_length(self) -> int:
        """P."""


def export_mindir(
    folder: Path, plan: GraphPlan, interpreter: Interpreter, progress: Progress
) -> tuple[GraphEntry, ...]:
    """Export every graph of the plan into `folder`, whose `weights/` is written already.

    MindSpore always runs in a process of its own: what it prints goes to a log, and its memory
    goes when it ends.
    """
    progress.stage(
        _("Exporting graphs with MindSpore {version}", version=interpreter.mindspore),
        len(plan.graphs),
        _("graphs"),
    )

    def advance(frame: Mapping[str, Any]) -> None:
        progress.advance()

    worker = WorkerProcess(interpreter.python)
    try:
        reply, _arrays = worker.request(
            {
                "request": "export",
                "job": {
                    "config": plan.model.to_dict(),
                    "weights_dir": str(folder / WEIGHTS),
                    "out_dir": str(folder),
                    "graphs": list(plan.graphs),
                    "prefix_length": plan.prefix_length,
                    "dtype": plan.dtype,
                },
            },
            on_progress=advance,
            deferring=False,
        )
    except EngineError as error:
        raise ExportError.from_dict(vars(error)) from error
    finally:
        worker.close()
    return tuple(
        GraphEntry(
            **graph,
            format="mindir",
            file=made["file"],
            inputs=tuple(made["inputs"]),
            outputs=tuple(made["outputs"]),
            mindir_version=made["mindir_version"],
        )
        for graph, made in zip(plan.graphs, reply["graphs"], strict=True)
    )
