"""Whose contract a graph's inputs follow, without any graph."""

from __future__ import annotations

from pathlib import Path

import pytest

from glmlite.errors import EngineError
from glmlite.runtime.engines import contracts
from glmlite.toolchain.signature import Signature, TensorInfo

IDS = TensorInfo("input_ids", (2, 64), "int32")
POSITION = TensorInfo("input_position", (2, 1), "int32")
RESET = TensorInfo("init_reset", (1,), "bool")
LENGTH = TensorInfo("batch_valid_length", (2, 1), "int32")
LOGITS = (TensorInfo("x", (2, 1000), "float32"),)
ROW = TensorInfo("position", (2,), "int32")
PAST = TensorInfo("past0", (2, 2, 64, 8), "float16")


@pytest.fixture
def read(monkeypatch):
    """Tells the contract of inputs."""

    def contract(*inputs, outputs=LOGITS, parameters=None):
        signature = Signature(inputs, outputs, parameters or {})
        monkeypatch.setattr(contracts, "read_signature", lambda path: signature)
        return contracts.read_bare_graph(Path("x.mindir"))

    return contract


def roles(graph):
    return [role for role, _info in graph.inputs]


def test_named_inputs_may_have_any_order(read):
    graph = read(IDS, RESET, POSITION, LENGTH)
    assert graph.contract == "in_graph"
    assert roles(graph) == ["input_ids", "init_reset", "input_position", "batch_valid_length"]


def test_unnamed_inputs_have_mindformers_order(read):
    bare = [info._replace(name=f"x{i}") for i, info in enumerate((IDS, POSITION, RESET, LENGTH))]
    assert roles(read(*bare)) == list(contracts.IN_GRAPH_ROLES)


def test_glmlites_own(read):
    graph = read(IDS, ROW, ROW, PAST, PAST, PAST, PAST)
    assert (graph.contract, graph.caches, graph.dtype) == ("explicit", 4, "float16")
    assert (graph.batch_size, graph.tokens, graph.vocab_size) == (2, 64, 1000)


def test_the_output_layer_tells_the_vocabulary_where_the_outputs_do_not(read):
    weights = {"transformer.output_layer.weight": (777, 64)}
    inputs = (IDS, POSITION, RESET, LENGTH)
    assert read(*inputs, outputs=(), parameters=weights).vocab_size == 777
    every_row = (TensorInfo("x", (2, 64, 1000), "float32"),)
    assert read(*inputs, outputs=every_row).vocab_size == 1000
    with pytest.raises(EngineError, match="how many logits"):
        read(*inputs, outputs=())


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ((IDS, LENGTH, TensorInfo("slot_mapping", (64,), "int32")), "paged attention"),
        ((IDS, LENGTH, TensorInfo("zactivate_len", (64,), "int64")), "dynamic shapes"),
        ((IDS._replace(shape=(-1, -1)), POSITION, RESET, LENGTH), "dynamic shapes"),
        ((IDS, TensorInfo("position_ids", (2, 2, 64), "int32")), "first generation"),
        ((IDS,), "no graph that glmlite can drive"),
        ((), "no graph that glmlite can drive"),
        ((IDS, POSITION, LENGTH, LENGTH), "no graph that glmlite can drive"),
        ((IDS, ROW, ROW, PAST, PAST._replace(shape=(2, 2, 32, 8))), "no graph that glmlite"),
        ((IDS, ROW, ROW, PAST), "no graph that glmlite can drive"),
    ],
)
def test_others_are_refused_with_their_inputs(read, inputs, said):
    with pytest.raises(EngineError, match=said):
        read(*inputs)
