"""The ONNX graphs of an export: what `export_mindir` is for MindIR."""

from __future__ import annotations

from pathlib import Path

from glmlite.bundle.contents import read_index
from glmlite.bundle.manifest import GraphEntry
from glmlite.exporter.onnx_graph.emit import emit_graph
from glmlite.exporter.plan import ExportPlan
from glmlite.exporter.weights import INDEX, WEIGHTS
from glmlite.i18n import _
from glmlite.model.config import ModelConfig
from glmlite.progress import Progress

MODEL_FILE, SCORE_FILE = "model.onnx", "score.onnx"


def export_onnx(folder: Path, plan: ExportPlan, progress: Progress) -> tuple[GraphEntry, ...]:
    """Write every graph of the plan into `folder`, whose `weights/` is written already.

    Raises:
        ExportError: the package onnx is missing.
    """
    flavor = plan.flavor or "ort"
    files = {graph["phase"]: file_of(graph["phase"], flavor) for graph in plan.graphs}
    progress.stage(_("Writing ONNX graphs"), len(set(files.values())), _("graphs"))
    index = read_index(folder / WEIGHTS / INDEX)
    for file in sorted(set(files.values())):
        emit_graph(
            folder,
            file,
            plan.model,
            index,
            flavor=flavor,
            cache_length=max(graph["cache_length"] for graph in plan.graphs),
            prefix_length=plan.prefix_length,
            score=file == SCORE_FILE,
            family=plan.family,
        )
        progress.advance()
    inputs, outputs = names_of(plan.model)
    return tuple(
        GraphEntry(
            **graph,
            format="onnx",
            flavor=flavor,
            file=files[graph["phase"]],
            inputs=inputs,
            outputs=outputs,
        )
        for graph in plan.graphs
    )


def file_of(phase: str, flavor: str) -> str:
    """The file that serves a phase: one for all, but logits of every row in `standard`."""
    return SCORE_FILE if phase == "score" and flavor == "standard" else MODEL_FILE


def names_of(model: ModelConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Inputs and outputs of every graph, in order; optional inputs are left out."""
    parts = [f"{i}.{part}" for i in range(model.num_layers) for part in ("key", "value")]
    return (
        ("input_ids", "position", "valid_length", *(f"past.{part}" for part in parts)),
        ("logits", *(f"present.{part}" for part in parts)),
    )
