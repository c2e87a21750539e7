"""Exports a network with MindSpore without writing, or even having, its weights.

MindSpore's own export writes all weights with every graph. What a graph file needs of a parameter
is its name, shape and dtype, so the network is traced with Parameters of zeros that share one piece
of memory, and MindSpore is kept from writing them:

- where `mindspore.export` takes a `custom_func` (2.10 does), that function gets the finished model
  before any weight is added to it, and keeps it;
- else (2.0) the values are asked of the Parameters, which answer with nothing.

A MindSpore that knows neither writes zeros, which are dropped like everything that it says of where
weights lie; that takes room on the disk for a while, and nothing else.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ToolchainError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mindspore import Parameter, Tensor, nn

_TRACED = "traced.mindir"


def hollow_parameters(ms: Any, tensors: Mapping[str, Mapping[str, Any]]) -> dict[str, Parameter]:
    """Parameters without values of their own.

    Args:
        ms: the module `mindspore`.
        tensors: name -> "dtype", "shape" and "nbytes", as in `WeightsIndex.tensors`.

    Returns:
        Name -> Parameter of that name, dtype and shape.
    """
    # Nobody writes to it, so it stays the kernel's one page of zeros.
    zeros = np.zeros(max(entry["nbytes"] for entry in tensors.values()), np.uint8)
    nothing = np.zeros(0, np.uint8)
    parameters = {}
    for name, entry in tensors.items():
        array = zeros[: entry["nbytes"]].view(entry["dtype"]).reshape(entry["shape"])
        tensor = ms.Tensor.from_numpy(array)
        parameter = ms.Parameter(tensor, name=name, requires_grad=False)
        parameter.assign_value(tensor)  # 2.10 has made a copy
        parameter.asnumpy = lambda: nothing
        parameters[name] = parameter
    return parameters


def trace(ms: Any, net: nn.Cell, inputs: Sequence[Tensor], folder: str) -> str:
    """Export a network of `hollow_parameters`.

    Args:
        ms: the module `mindspore`.
        net: the network, not in training.
        inputs: of the right shapes and dtypes.
        folder: an empty one; what is written goes here.

    Returns:
        Path of a MindIR that lists every parameter; where their data lies is not to be believed.

    Raises:
        ToolchainError: MindSpore wrote something else.
    """
    traced = os.path.join(folder, _TRACED)

    def keep(model: Any) -> None:
        with open(traced, "wb") as file:
            file.write(model.SerializeToString())
        del model.graph.parameter[:]  # nothing is left whose weights could be written

    whole = os.path.join(folder, "whole")
    ms.export(net, *inputs, file_name=whole, file_format="MINDIR", custom_func=keep)
    if os.path.exists(traced):
        return traced
    written = [name for name in os.listdir(folder) if name.endswith(".mindir")]
    if len(written) != 1:
        raise ToolchainError("MindSpore wrote {files} instead of one MindIR.", files=str(written))
    path = os.path.join(folder, written[0])
    os.chmod(path, 0o644)
    return path
