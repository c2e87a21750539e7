"""What every ONNX file of a bundle is held to: the checker, and the rule of names.

The rule is written in docs/graph-contract.md, "Names".
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import onnx

MODULES = (
    r"embedding|step|wanted|final_layernorm|output_layer"
    r"|layers\.\d+/(input_layernorm|post_attention_layernorm"
    r"|self_attention(/query_key_value|/dense|/rotary)?|mlp(/dense_h_to_4h|/dense_4h_to_h)?)"
)
NODE = re.compile(rf"/({MODULES})/[A-Z]\w*")
DIMENSIONS = {
    "batch",
    "tokens",
    "cache_length",
    "all_tokens",
    "valid_tokens",
    "rows",
    "group_rows",
}


def shape_of(value: Any) -> list[Any]:
    """Names and numbers."""
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def check_file(path: Path) -> None:
    """`onnx` accepts a file, and strict inference finds the shapes that it says already."""
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path, load_external_data=False)
    found = onnx.shape_inference.infer_shapes(
        model, check_type=True, strict_mode=True, data_prop=True
    )
    told = {v.name: shape_of(v) for v in model.graph.value_info}
    inferred = {v.name: shape_of(v) for v in found.graph.value_info}
    assert inferred == told, path.name  # nothing was left to be guessed, and nothing was corrected


def check_names(graph: Any, weights: set[str]) -> None:
    """Nodes, outputs, initializers and dimensions are called as the rule says.

    Args:
        graph: of a model.
        weights: names in the bundle's index.
    """
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    ends = {v.name for v in (*graph.output, *graph.input)}
    for node in graph.node:
        assert NODE.fullmatch(node.name), node.name
        assert re.match(rf"{node.op_type}(_\d+)?$", node.name.rpartition("/")[2])
        for k, output in enumerate(node.output):
            assert not output or output in ends or output == f"{node.name}/output_{k}"
    for tensor in graph.initializer:
        named = tensor.name.startswith("/constants/") or tensor.name == "all_logits"
        assert named or tensor.name in weights, tensor.name
    values = {v.name: v for v in (*graph.value_info, *graph.input, *graph.output)}
    for node in graph.node:
        for output in filter(None, node.output):
            assert output in values, output
    assert {d for v in values.values() for d in shape_of(v) if isinstance(d, str)} <= DIMENSIONS
