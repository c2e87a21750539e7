"""Writes one ONNX graph of a bundle out of its weights index."""

from __future__ import annotations

from pathlib import Path

import glmlite
from glmlite.exporter.config import Flavor
from glmlite.exporter.onnx_graph import ort, standard
from glmlite.exporter.onnx_graph.builder import GraphBuilder
from glmlite.exporter.onnx_graph.linear import Products
from glmlite.model.config import Family, ModelConfig
from glmlite.toolchain.weights import WeightsIndex


def emit_graph(
    folder: Path,
    file: str,
    model: ModelConfig,
    index: WeightsIndex,
    *,
    flavor: Flavor,
    cache_length: int,
    prefix_length: int,
    score: bool = False,
    weights_prefix: str = "",
    accuracy_level: int = 4,
    grouped: bool = False,
    family: Family | None = None,
) -> None:
    """Write `folder/file`; of the weights only the index is read.

    Args:
        folder: of the bundle.
        file: name of the graph in it.
        model: sizes.
        index: tells how each parameter is stored (`weights/index.json`).
        flavor: "ort" (ONNX Runtime's fused operators, all phases in one file) or "standard"
            (graph contract v1 in standard operators, opset 13).
        cache_length: the largest S that an engine will allocate.
        prefix_length: P.
        score: flavor standard: logits of every token, [B, T, V].
        weights_prefix: of the weight set in the index, e.g. "prefill/".
        accuracy_level: of MatMulNBits; 4 computes in int8.
        grouped: flavor ort: attention for steps of few tokens (see `onnx_graph.grouped`), where
            another file serves the prefill.
        family: written into the file's metadata.

    Raises:
        ExportError: the package onnx is missing, or the index lacks a parameter.
    """
    products = Products(flavor, accuracy_level)
    metadata = {"glmlite_version": glmlite.__version__, "flavor": flavor}
    if family:
        metadata["family"] = family
    if flavor == "ort":
        graph = GraphBuilder(index, ort.OPSET, weights_prefix)
        ort.build_ort(graph, model, products, cache_length, prefix_length, grouped=grouped)
        graph.save(folder / file, "glm", ort.IR_VERSION, metadata)
    else:
        graph = GraphBuilder(index, standard.OPSET, weights_prefix)
        standard.build_standard(graph, model, products, cache_length, prefix_length, score)
        graph.save(folder / file, "glm", standard.IR_VERSION, metadata)
