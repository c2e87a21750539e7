"""Collects the nodes of an ONNX graph under one naming rule, and writes the file.

The rule: a node is called `/MODULE/PATH/OpType`, the module path being the checkpoint's own without
its leading parts (`/layers.3/self_attention/query_key_value/FusedMatMul`); a second node of the
same kind in the same place gets `_1`, and so on. Its outputs are `NODE/output_0`, …; constants are
`/constants/NAME`; weights keep the names of the weights index. Graph inputs and outputs have the
names of the graph contract.

Every tensor's dtype and shape is told when its node is made: operators of ONNX Runtime's own domain
have no shape inference in `onnx`, and a reader of the graph wants to see them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from glmlite.errors import ExportError
from glmlite.runtime.engines.interrupts import interrupt_deferred
from glmlite.toolchain.weights import WeightsIndex

MICROSOFT = "com.microsoft"
DATA_FOLDER = "weights"
Shape = tuple[int | str, ...]


def import_onnx() -> Any:
    """The package `onnx`.

    Raises:
        ExportError: it is not installed.
    """
    try:
        with interrupt_deferred():
            import onnx
    except ImportError as error:
        raise ExportError(
            "ONNX export needs the package onnx, and it cannot be imported: {error}",
            hint="pip install 'glmlite[onnx]'",
            error=str(error),
        ) from error
    return onnx


class GraphBuilder:
    """One ONNX graph in the making.

    Args:
        index: of the weights that the graph reads.
        opset: version of the standard operators.
        weights_prefix: of the weight set; what that lacks is taken from the first one.
    """

    def __init__(self, index: WeightsIndex, opset: int, weights_prefix: str = "") -> None:
        self._onnx = import_onnx()
        self.index, self.opset, self.weights_prefix = index, opset, weights_prefix
        self.quantized = index.quantized
        self._nodes: list[Any] = []
        self._initializers: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._shapes: dict[str, tuple[Shape, int]] = {}
        self._counts: dict[str, int] = {}
        self._domains: set[str] = set()

    def shape_of(self, tensor: str) -> Shape:
        """The shape that was told for a tensor; symbolic dimensions are names."""
        return self._shapes[tensor][0]

    def input(self, name: str, shape: Shape, dtype: DTypeLike = np.int32) -> str:
        """Declare a graph input; returns its name."""
        self._inputs.append(self._describe(name, shape, self._kind(dtype)))
        return name

    def optional_input(self, name: str, default: NDArray[Any]) -> str:
        """Declare a graph input that has a default value; returns its name."""
        self._initializers[name] = self._onnx.numpy_helper.from_array(default, name)
        return self.input(name, default.shape, default.dtype)

    def output(self, name: str, tensor: str) -> None:
        """Make a node's output a graph output called `name`."""
        shape, kind = self._shapes.pop(tensor)
        for node in self._nodes:
            for names in (node.input, node.output):
                for at, found in enumerate(names):
                    if found == tensor:
                        names[at] = name
        self._outputs.append(self._describe(name, shape, kind))

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        scope: str,
        shape: Shape,
        dtype: DTypeLike = np.float32,
        *,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Add a node with one output; returns the output's name."""
        return self.nodes(op, inputs, scope, {0: shape}, dtype, domain=domain, **attributes)[0]

    def nodes(
        self,
        op: str,
        inputs: Sequence[str],
        scope: str,
        shapes: Mapping[int, Shape],
        dtype: DTypeLike = np.float32,
        *,
        domain: str = "",
        **attributes: Any,
    ) -> list[str]:
        """Add a node with several outputs.

        Args:
            op: operator.
            inputs: tensors; "" leaves an optional one out.
            scope: module path, e.g. "/layers.0/mlp".
            shapes: number of an output -> its shape; outputs that are left out do not exist.
            dtype: of all of them.
            domain: "" or `MICROSOFT`.
            **attributes: of the operator.

        Returns:
            The outputs' names, in the order of `shapes`.
        """
        base = f"{scope}/{op}"
        count = self._counts.get(base, 0)
        self._counts[base] = count + 1
        name = f"{base}_{count}" if count else base
        outputs = [f"{name}/output_{k}" if k in shapes else "" for k in range(max(shapes) + 1)]
        made = self._onnx.helper.make_node(
            op, list(inputs), outputs, name=name, domain=domain, **attributes
        )
        self._nodes.append(made)
        self._domains.add(domain)
        for number, shape in shapes.items():
            self._shapes[outputs[number]] = (shape, self._kind(dtype))
        return [outputs[number] for number in shapes]

    def cast(self, tensor: str, dtype: DTypeLike, scope: str) -> str:
        """Add a Cast, unless the tensor has this dtype already."""
        shape, kind = self._shapes[tensor]
        if kind == self._kind(dtype):
            return tensor
        return self.node("Cast", [tensor], scope, shape, dtype, to=self._kind(dtype))

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """A small constant `/constants/NAME`, kept in the graph's file; one name, one value."""
        tensor = f"/constants/{name}"
        if tensor not in self._initializers:
            self._initializers[tensor] = self._onnx.numpy_helper.from_array(value, tensor)
            self._shapes[tensor] = (value.shape, self._kind(value.dtype))
        return tensor

    def constant_of_shape(self, of: str, value: NDArray[Any], scope: str, shape: Shape) -> str:
        """Add a tensor full of one value, of the shape that tensor `of` holds."""
        tensor = self._onnx.numpy_helper.from_array(value)
        return self.node("ConstantOfShape", [of], scope, shape, value.dtype, value=tensor)

    def integers(self, values: Sequence[int], dtype: DTypeLike = np.int64) -> str:
        """A constant vector of integers, e.g. a shape or axes."""
        name = "x".join(str(v).replace("-", "minus_") for v in values)
        return self.constant(f"{np.dtype(dtype).name}_{name}", np.array(values, dtype))

    def scalar(self, value: int, dtype: DTypeLike = np.int32) -> str:
        """A constant integer without dimensions."""
        name = f"{np.dtype(dtype).name}_scalar_{value}".replace("-", "minus_")
        return self.constant(name, np.array(value, dtype))

    def stored_name(self, parameter: str) -> str:
        """A parameter's name in the index: of the graph's weight set, or else of the first one."""
        return self.index.find(parameter, self.weights_prefix)

    def weight(self, parameter: str) -> str:
        """A plain parameter, left in the data file; returns its name in the graph.

        Raises:
            ExportError: the index has none of this name.
        """
        return self.tensor(self.stored_name(parameter))

    def tensor(self, name: str) -> str:
        """A tensor of the index under the very name it has there, left in the data file.

        Raises:
            ExportError: the index has none of this name.
        """
        if name in self._initializers:
            return name
        entry = self.index.tensors.get(name)
        if entry is None:
            raise ExportError("The weights index lacks {name}.", name=name)
        tensor = self._onnx.TensorProto(
            name=name,
            dims=entry["shape"],
            data_type=self._kind(entry["dtype"]),
            data_location=self._onnx.TensorProto.EXTERNAL,
        )
        place = {
            "location": f"{DATA_FOLDER}/{self.index.file}",
            "offset": entry["offset"],
            "length": entry["nbytes"],
        }
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        self._initializers[name] = tensor
        self._shapes[name] = (tuple(entry["shape"]), tensor.data_type)
        return name

    def float_weight(self, parameter: str, scope: str) -> str:
        """The same, cast to float32 where it is stored as float16."""
        return self.cast(self.weight(parameter), np.float32, scope)

    def save(self, path: Path, name: str, ir_version: int, metadata: Mapping[str, str]) -> None:
        """Check the graph and write it; tensors stay in the data file.

        Args:
            path: of the file; its folder holds `weights/`.
            name: of the graph.
            ir_version: of the file format.
            metadata: becomes the model's metadata_props.
        """
        helper = self._onnx.helper
        kept = {v.name for v in [*self._inputs, *self._outputs]} | set(self._initializers)
        graph = helper.make_graph(
            self._nodes,
            name,
            self._inputs,
            self._outputs,
            initializer=list(self._initializers.values()),
            value_info=[
                self._describe(tensor, shape, kind)
                for tensor, (shape, kind) in self._shapes.items()
                if tensor not in kept
            ],
        )
        opsets = {"": self.opset} | {d: 1 for d in self._domains if d}
        model = helper.make_model(
            graph,
            producer_name="glmlite",
            producer_version=metadata.get("glmlite_version", ""),
            ir_version=ir_version,
            opset_imports=[helper.make_opsetid(d, v) for d, v in opsets.items()],
        )
        helper.set_model_props(model, dict(metadata))
        path.write_bytes(model.SerializeToString())

    def _kind(self, dtype: DTypeLike) -> int:
        return int(self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def _describe(self, name: str, shape: Shape, kind: int) -> Any:
        self._shapes[name] = (shape, kind)
        return self._onnx.helper.make_tensor_value_info(name, kind, list(shape))
