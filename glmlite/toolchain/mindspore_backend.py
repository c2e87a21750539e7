"""Runs MindIR graphs on MindSpore itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from .backend import Backend
from .errors import ToolchainError, first_words
from .mindspore_loading import Loader
from .signature import read_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from .backend import CacheData, Graph, Rows


def set_cpu(ms: Any) -> None:
    """Graph mode on the CPU, by whichever call this MindSpore (the module `ms`) has."""
    ms.set_context(mode=ms.GRAPH_MODE)
    if hasattr(ms, "set_device"):
        ms.set_device("CPU")
    else:
        ms.set_context(device_target="CPU")


class MindSporeBackend(Backend):
    """Loads graphs as `nn.GraphCell`; the caches stay MindSpore Tensors, weights are mapped once.

    Args:
        options: "threads" (0 or absent: MindSpore decides).

    Raises:
        ToolchainError: this interpreter has no usable MindSpore.
    """

    name = "mindspore"

    def __init__(self, options: Mapping[str, Any]) -> None:
        os.environ.setdefault("GLOG_v", "3")  # errors only, unless the user wants more
        try:
            import mindspore as ms
        except ImportError as error:
            raise ToolchainError(
                "MindSpore cannot be imported: {error}",
                hint="Install it (pip install 'glmlite[mindspore]'), or name an interpreter that "
                "has it: --toolchain PATH. `glmlite doctor` lists what was found.",
                error=str(error),
            ) from error
        self.ms = ms
        self.version = ms.__version__
        set_cpu(ms)
        if options.get("threads"):
            ms.set_context(runtime_num_threads=options["threads"])
        self._loader = Loader(ms)
        self._nets: dict[str, Any] = {}

    def declare(self, graphs: Sequence[Graph]) -> None:
        """Load every graph before the first one runs.

        That costs next to nothing, but MindSpore 2.0 fills the room for the weights with zeros,
        which should be over before the weights themselves come into memory.
        """
        for graph in graphs:
            self._nets[graph["path"]] = self._read(graph, self._loader.load)
        self._read(graphs[0], self._loader.forget)

    def load(self, graph: Graph) -> Any:
        """One of the declared graphs; MindSpore compiles it when it first runs."""
        return self._nets[graph["path"]]

    def _read(self, graph: Graph, load: Callable[[str], Any]) -> Any:
        try:
            return load(graph["path"])
        except Exception as error:
            raise ToolchainError(
                "MindSpore {version} cannot load {path}: {error}",
                hint="Export it with the MindSpore that will run it.",
                version=self.version,
                path=graph["path"],
                error=first_words(error),
            ) from error

    def new_cache(self, arrays: Sequence[NDArray[Any]]) -> CacheData:
        """Tensors of their own from arrays."""
        return [self.ms.Tensor(np.array(a)) for a in arrays]

    def to_arrays(self, cache: CacheData) -> Sequence[NDArray[Any]]:
        """The cache as arrays, for moving it into longer ones."""
        return [tensor.asnumpy() for tensor in cache]

    def count_inputs(self, model: Any, graph: Graph) -> int:
        """Read off the file: a loaded graph does not tell."""
        return len(read_signature(graph["path"]).inputs)

    def cache_dtype(self, model: Any, graph: Graph) -> np.dtype[Any]:
        """The dtype of the graph's cache inputs, as exported."""
        return np.dtype(graph["dtype"])

    def run(self, model: Any, rows: Rows, cache: CacheData) -> NDArray[Any]:
        """See `Backend.run`."""
        outputs = model(*[self.ms.Tensor(row) for row in rows], *cache)
        if not isinstance(outputs, tuple):
            outputs = (outputs,)
        cache[:] = outputs[1:]
        return np.array(outputs[0].asnumpy())

    def share_state(self, first: Any, second: Any) -> None:
        """Give the second graph the first one's Parameters."""
        held = dict(first.parameters_dict())
        for name, parameter in second.parameters_dict().items():
            if name in held and held[name].shape == parameter.shape:
                parameter.assign_value(held[name])

    def close(self) -> None:
        """Drop graphs and weights."""
        self._nets, self._loader = {}, Loader(self.ms)
