"""What must hold of a manifest's graphs, one by one and between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from glmlite.i18n import _

if TYPE_CHECKING:
    from glmlite.bundle.manifest import GraphEntry

PHASES = ("prefill", "decode", "score")
GRAPH_FORMATS = ("mindir", "onnx")
ONNX_FLAVORS = ("ort", "standard")
# Far above every real graph, and low enough that arrays of these sizes can be thought about.
MAX_TOKENS = MAX_CACHE_LENGTH = 2**20
MAX_BATCH_SIZE = 1024


def find_fault(graphs: Sequence[GraphEntry], prefix_length: int) -> str | None:
    """What is wrong with the graphs of a manifest, or None."""
    if not graphs:
        return _("it lists no graph")
    seen = set()
    for graph in graphs:
        if graph.phase not in PHASES or graph.format not in GRAPH_FORMATS:
            return _("{path} has phase or format unknown", path=graph.file)
        if (graph.flavor in ONNX_FLAVORS) != (graph.format == "onnx"):
            return _("{path} has a flavor that its format does not know", path=graph.file)
        # 0 tokens are any number of them, which decode, one at a time, has no use for.
        fewest = 0 if graph.format == "onnx" and graph.phase != "decode" else 1
        sizes_fit = graph.tokens >= fewest and graph.batch_size >= 1
        if graph.batch_size != graphs[0].batch_size or not sizes_fit:
            return _("{path} has another batch size, or no tokens", path=graph.file)
        if graph.cache_length <= prefix_length:
            return _("{path} has no cache slot behind the prefix", path=graph.file)
        if (
            graph.batch_size > MAX_BATCH_SIZE
            or graph.tokens > MAX_TOKENS
            or graph.cache_length > MAX_CACHE_LENGTH
        ):
            return _(
                "{path} has a batch size, tokens or a cache beyond all bounds", path=graph.file
            )
        key = (graph.phase, graph.tokens, graph.cache_length, graph.format)
        if key in seen:
            return _("{path} is a second graph of the same sizes", path=graph.file)
        seen.add(key)
    if all(graph.phase == "score" for graph in graphs):
        return _("it lists no graph that makes a step, score graphs only")
    return None
