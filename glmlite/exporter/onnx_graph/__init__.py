"""ONNX graphs of a bundle, written straight from its weights index: no tracing, no other framework.

`emit_graph` writes one file, `export_onnx` all that an export plan asks for.
"""

from glmlite.exporter.onnx_graph.emit import emit_graph
from glmlite.exporter.onnx_graph.export import export_onnx

__all__ = ["emit_graph", "export_onnx"]
