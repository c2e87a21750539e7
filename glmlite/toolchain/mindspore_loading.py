"""Loads MindIR graphs into MindSpore, with one copy of their weights, mapped from disk.

`hollow.py` says why. Measured with MindSpore 2.0.0 and 2.10.0: `Tensor.from_numpy` takes an
array's memory as it is, `Parameter.assign_value` takes the Tensor's, and both versions' CPU
backends compute straight from it.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from .hollow import outer_parameters, write_hollow
from .mindir import MindIRError

if TYPE_CHECKING:
    from .mindir_quant import TypedParameter

    # First byte, dtype, shape.
    Place = tuple[int, str, tuple[int, ...]]


class MappedFile:
    """A file of weights: every tensor is made once and shares the file's pages.

    Args:
        ms: the module.
        path: of the file.
    """

    def __init__(self, ms: Any, path: str) -> None:
        self.ms, self.path = ms, path
        # Pages are the file's own until somebody writes to them, which a graph with state may.
        self.data = np.memmap(path, dtype=np.uint8, mode="c")
        self.tensors: dict[Place, Any] = {}

    def tensor(self, parameter: TypedParameter) -> Any:
        """The values of a parameter that lies in this file.

        Raises:
            MindIRError: it does not.
        """
        stored, dtype, shape = parameter.stored, parameter.dtype, parameter.shape
        key = (stored.offset, dtype, shape)
        if key not in self.tensors:
            nbytes = np.dtype(dtype).itemsize
            for n in shape:
                nbytes *= n
            if nbytes != stored.length or stored.offset + nbytes > self.data.size:
                raise MindIRError("%s does not fit its place in %s" % (stored.name, self.path))
            data = self.data[stored.offset : stored.offset + nbytes]
            self.tensors[key] = self.ms.Tensor.from_numpy(data.view(dtype).reshape(shape))
        return self.tensors[key]


class Loader:
    """Loads graphs as `nn.GraphCell`; those with the same weights file share its memory.

    Args:
        ms: the module.
    """

    def __init__(self, ms: Any) -> None:
        self.ms = ms
        self.files: dict[str, MappedFile] = {}

    def load(self, path: str) -> Any:
        """One graph, its weights in place; those inside the file itself are the graph's own.

        Raises:
            MindIRError: this is no MindIR, or a weight is not where it should be.
            OSError: a file cannot be read.
            Exception: MindSpore refuses it.
        """
        outer = outer_parameters(path)
        if not outer:
            return self.ms.nn.GraphCell(self.ms.load(path))
        net = self._load_hollow(path, outer, shrunk=False)
        parameters = net.parameters_dict()
        for parameter in outer:
            if parameter.stored.name in parameters:
                tensor = self._file(path, parameter).tensor(parameter)
                parameters[parameter.stored.name].assign_value(tensor)
        return net

    def forget(self, path: str) -> None:
        """Let MindSpore give back what it keeps of the graph that it loaded last.

        Up to the next load, MindSpore 2.0 keeps the memory that it had made for the parameters,
        filled with zeros. So load something small: the graph `path` with parameters of one number.
        """
        outer = outer_parameters(path)
        if outer:
            self._load_hollow(path, outer, shrunk=True)

    def _load_hollow(self, path: str, outer: list[TypedParameter], shrunk: bool) -> Any:
        with tempfile.TemporaryDirectory(prefix="glmlite-") as folder:
            # The same name, for MindSpore's messages.
            hollow = os.path.join(folder, os.path.basename(path))
            write_hollow(path, hollow, outer, shrunk=shrunk)
            return self.ms.nn.GraphCell(self.ms.load(hollow))

    def _file(self, path: str, parameter: TypedParameter) -> MappedFile:
        location = parameter.stored.location or ""
        file = os.path.realpath(os.path.join(os.path.dirname(path), location))
        if file not in self.files:
            self.files[file] = MappedFile(self.ms, file)
        return self.files[file]
