"""Whose contract a bare graph follows, worked out from its inputs.

`explicit`: glmlite's own graphs, (input_ids [B,T], position [B], valid_length [B], keys and values
of every layer [B, groups, S, head_dim]). `in_graph`: MindFormers 0.8–1.0's, (input_ids [B,T],
input_position, init_reset bool, batch_valid_length), the cache being Parameters of the graph.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal

from glmlite.errors import EngineError
from glmlite.i18n import _
from glmlite.toolchain.mindir import MindIRError
from glmlite.toolchain.signature import Signature, TensorInfo, describe, read_signature

Contract = Literal["explicit", "in_graph"]

IN_GRAPH_ROLES = ("input_ids", "input_position", "init_reset", "batch_valid_length")


@dataclasses.dataclass(frozen=True)
class BareGraph:
    """One graph file and what its inputs say.

    Attributes:
        path: of the MindIR.
        contract: whose it follows.
        batch_size: B. tokens: T. vocab_size: V.
        inputs: in the graph's order, with their roles in the contract.
        cache_shape: explicit: [B, groups, S, head_dim]. caches: how many of these inputs.
        dtype: of the explicit cache.
    """

    path: Path
    contract: Contract
    batch_size: int
    tokens: int
    vocab_size: int
    inputs: tuple[tuple[str, TensorInfo], ...]
    cache_shape: tuple[int, ...] = ()
    caches: int = 0
    dtype: str = "float32"


def read_bare_graph(path: Path) -> BareGraph:
    """Read a MindIR's inputs and tell its contract.

    Raises:
        EngineError: no MindIR, or a graph of neither contract; says what its inputs are.
    """
    try:
        signature = read_signature(str(path))
    except (MindIRError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise EngineError("{path} is no MindIR: {error}", path=str(path), error=reason) from error
    inputs = signature.inputs
    kind = _foreign_kind(inputs)
    if kind:
        raise _refuse(path, inputs, kind)
    graph = _explicit(path, signature) or _in_graph(path, signature)
    if graph is None:
        raise _refuse(path, inputs, "")
    return graph


def _foreign_kind(inputs: tuple[TensorInfo, ...]) -> str:
    """What kind of MindFormers graph this is that glmlite cannot drive; "" for none of them."""
    names = {info.name for info in inputs}
    if names & {"block_tables", "slot_mapping"}:
        return _("paged attention")
    if names & {"attention_mask", "position_ids"}:
        return _("ChatGLM-6B of the first generation")
    dynamic = any(n < 1 for info in inputs for n in info.shape)
    if dynamic or names & {"batch_index", "zactivate_len"}:
        return _("dynamic shapes")
    return ""


def _refuse(path: Path, inputs: tuple[TensorInfo, ...], kind: str) -> EngineError:
    if kind:
        return EngineError(
            "{path} is a graph of another kind ({kind}); its inputs are {inputs}.",
            hint="Export the model with glmlite: glmlite export --config YAML",
            path=str(path),
            kind=kind,
            inputs=describe(inputs),
        )
    return EngineError(
        "{path} is no graph that glmlite can drive; its inputs are {inputs}.",
        hint="Known are glmlite's own graphs and those that MindFormers 0.8 to 1.0 exported from "
        "ChatGLM2/3 with use_past. Export the model again: glmlite export --config YAML",
        path=str(path),
        inputs=describe(inputs),
    )


def _explicit(path: Path, signature: Signature) -> BareGraph | None:
    ids, *rest = signature.inputs or (TensorInfo("", (), ""),)
    if len(rest) < 4 or len(rest) % 2 or len(ids.shape) != 2:
        return None
    batch, tokens = ids.shape
    caches = rest[2:]
    first = caches[0]
    rows_fit = all(i.shape == (batch,) and i.dtype == "int32" for i in (rest[0], rest[1]))
    caches_fit = all(i.shape == first.shape and i.dtype == first.dtype for i in caches)
    if not rows_fit or not caches_fit or len(first.shape) != 4 or first.shape[0] != batch:
        return None
    roles = ("input_ids", "position", "valid_length", *("past" for _ in caches))
    return BareGraph(
        path,
        "explicit",
        batch,
        tokens,
        _vocab_size(path, signature, batch * tokens),
        tuple(zip(roles, signature.inputs, strict=True)),
        first.shape,
        len(caches),
        first.dtype,
    )


def _in_graph(path: Path, signature: Signature) -> BareGraph | None:
    inputs = signature.inputs
    if len(inputs) != len(IN_GRAPH_ROLES):
        return None
    # Named graphs may have any order (MindFormers' LoRA export swapped two); bare ones have this.
    named = {info.name for info in inputs} == set(IN_GRAPH_ROLES)
    roles = tuple(i.name for i in inputs) if named else IN_GRAPH_ROLES
    by_role = dict(zip(roles, inputs, strict=True))
    ids = by_role["input_ids"]
    if len(ids.shape) != 2 or by_role["init_reset"].dtype != "bool":
        return None
    batch, tokens = ids.shape
    rows = (by_role["input_position"], by_role["batch_valid_length"])
    if any(math.prod(i.shape) != batch for i in rows) or math.prod(by_role["init_reset"].shape) > 1:
        return None
    if any(i.dtype not in ("int32", "int64") for i in (ids, *rows)):
        return None
    vocab_size = _vocab_size(path, signature, batch * tokens)
    pairs = tuple(zip(roles, inputs, strict=True))
    return BareGraph(path, "in_graph", batch, tokens, vocab_size, pairs)


def _vocab_size(path: Path, signature: Signature, rows: int) -> int:
    """V: the logits' last dimension, or the output layer's rows where the file does not tell."""
    shape = signature.outputs[0].shape if signature.outputs else ()
    if shape and shape[-1] > 1 and rows * shape[-1] % math.prod(shape) == 0:
        return shape[-1]
    for name, parameter in signature.parameters.items():
        if name.endswith("output_layer.weight") and len(parameter) == 2:
            return parameter[0]
    raise EngineError(
        "{path} does not tell how many logits it gives.",
        hint="Export the model with glmlite: glmlite export --config YAML",
        path=str(path),
    )


def to_job(graph: BareGraph, phase: str, cache_length: int, producer: str) -> dict[str, Any]:
    """The graph as plain data for `glmlite.toolchain`."""
    return {
        "phase": phase,
        "tokens": graph.tokens,
        "cache_length": cache_length,
        "batch_size": graph.batch_size,
        "path": str(graph.path.resolve()),
        "dtype": graph.dtype,
        "producer": producer,
        "inputs": [
            {"role": role, "shape": list(info.shape), "dtype": info.dtype}
            for role, info in graph.inputs
        ],
    }
