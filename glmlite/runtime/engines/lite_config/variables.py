"""The cache as variables of the compiled graphs.

`inputs_to_variable` and `outputs_to_variable` belong to `[ascend_context]` and hold positions, not
names: `[3~58]` are the inputs 3 to 58, counted from 0. As a graph is built with provider=ge, Lite
turns each of these inputs into a variable, assigns the output of the same rank to it, and leaves
the first output alone as the graph's result. Three things follow, and are checked here:

- the positions have to be those of the cache, and the logits have to be output 0;
- a variable is named after the node that writes it. Graphs of one `ModelGroup` share a variable
  where the names are equal; glmlite's exports name these nodes alike in every graph of one cache
  length (`toolchain.mindir_names`);
- a variable starts as zeros, so a P-Tuning prefix has no place in it; and the zeros are written as
  float32 whatever the dtype, past the end of a float16 one's memory.

Source: MindSpore Lite, tools/optimizer/graph/input_and_output_variable_pass.cc (2.2 … 2.7).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glmlite.errors import EngineError
from glmlite.toolchain.mindir import MindIRError
from glmlite.toolchain.mindir_names import output_names

if TYPE_CHECKING:
    from glmlite.bundle.manifest import GraphEntry


def _cache_range(names: Sequence[str], prefix: str) -> tuple[int, int] | None:
    places = [i for i, name in enumerate(names) if name.startswith(prefix)]
    if not places or places != list(range(places[0], places[-1] + 1)):
        return None
    return places[0], places[-1]


def variable_options(graph: GraphEntry, dtype: str, prefix_length: int) -> dict[str, str]:
    """The two keys of `[ascend_context]` for one graph.

    Args:
        graph: of the manifest; its inputs and outputs are listed in binding order.
        dtype: of the cache, "float32" or "float16".
        prefix_length: P.

    Raises:
        EngineError: this bundle's cache cannot live in variables; says why.
    """
    if dtype != "float32":
        raise EngineError(
            "cache=variables needs a float32 bundle: MindSpore Lite writes past the end of a "
            "{dtype} variable as it clears it.",
            hint="Use cache=device (the recipe ascend_ge), or export again with "
            "--set model.dtype=float32.",
            dtype=dtype,
        )
    if prefix_length:
        raise EngineError(
            "cache=variables has no place for a prefix of {count} slots: variables start as zeros.",
            hint="Use cache=device (the recipe ascend_ge).",
            count=prefix_length,
        )
    inputs = _cache_range(graph.inputs, "past.")
    outputs = _cache_range(graph.outputs, "present.")
    if (
        inputs is None
        or outputs is None
        or outputs[0] != 1
        or inputs[1] - inputs[0] != outputs[1] - outputs[0]
    ):
        raise EngineError(
            "{path} does not list its cache as past.… and present.… behind the logits.",
            hint="Export the model with glmlite, or use cache=device (the recipe ascend_ge).",
            path=graph.file,
        )
    return {
        "inputs_to_variable": "[{}~{}]".format(*inputs),
        "outputs_to_variable": "[{}~{}]".format(*outputs),
    }


def check_shared_names(folder: Path, graphs: Sequence[GraphEntry]) -> None:
    """See that the graphs of one cache length name their cache's nodes alike.

    Graphs that do not would each have variables of their own: decode would not see the prompt.

    Raises:
        EngineError: they differ, or a file is no MindIR.
    """
    named: dict[int, tuple[list[str], str]] = {}
    for graph in graphs:
        path = folder / graph.file
        try:
            names = output_names(str(path))[1:]
        except (MindIRError, OSError) as error:
            raise EngineError(
                "{path} is no MindIR: {error}", path=str(path), error=str(error)
            ) from error
        known, first = named.setdefault(graph.cache_length, (names, graph.file))
        if names != known:
            raise EngineError(
                "{path} and {first} write their caches under different names, so that variables "
                "would not be shared.",
                hint="Export the model again with this glmlite, or use cache=device (the recipe "
                "ascend_ge).",
                path=graph.file,
                first=first,
            )
