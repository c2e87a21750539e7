"""What `GraphEngine` asks of the library that runs the graphs."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    # A graph as a job lists it: phase, tokens, cache_length, batch_size, path, dtype, producer.
    Graph = Mapping[str, Any]
    # What the library itself keeps: one array or Tensor for each cache input of a graph.
    CacheData = list[Any]
    # input_ids int32 [B,T], position int32 [B], valid_length int32 [B].
    Rows = Sequence[NDArray[np.int32]]


class Backend(abc.ABC):
    """One library that runs MindIR graphs.

    Attributes:
        name: of the engine that it makes, as in `job["engine"]`.
        version: of the library.
    """

    name: str
    version: str

    @abc.abstractmethod
    def declare(self, graphs: Sequence[Graph]) -> None:
        """Learn of every graph before the first one is loaded."""

    @abc.abstractmethod
    def load(self, graph: Graph) -> Any:
        """Make one graph ready to run.

        Returns:
            The library's own handle, for `run`.

        Raises:
            ToolchainError: the library refuses it.
        """

    @abc.abstractmethod
    def new_cache(self, arrays: Sequence[NDArray[Any]]) -> CacheData:
        """A cache that starts with the values of `arrays` and shares no memory with them."""

    @abc.abstractmethod
    def to_arrays(self, cache: CacheData) -> Sequence[NDArray[Any]]:
        """The values of a cache, for moving them into a longer one."""

    @abc.abstractmethod
    def count_inputs(self, model: Any, graph: Graph) -> int:
        """How many inputs a loaded graph takes."""

    @abc.abstractmethod
    def cache_dtype(self, model: Any, graph: Graph) -> np.dtype[Any]:
        """The dtype that a loaded graph's cache inputs take."""

    @abc.abstractmethod
    def run(self, model: Any, rows: Rows, cache: CacheData) -> NDArray[Any]:
        """Run one step.

        Args:
            model: from `load`.
            rows: input_ids int32 [B,T], position int32 [B], valid_length int32 [B].
            cache: from `new_cache`, of the graph's cache length; updated in place.

        Returns:
            The logits, as an array of its own.
        """

    @abc.abstractmethod
    def share_state(self, first: Any, second: Any) -> None:
        """Let two loaded graphs keep their state in the same Parameters; see `in_graph_cache`.

        Raises:
            ToolchainError: this library does not keep state, or not here.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of everything loaded."""
