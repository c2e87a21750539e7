"""One ONNX graph, bound to caches and run."""

from __future__ import annotations

from typing import Any

import numpy as np

from glmlite.bundle.manifest import GraphEntry
from glmlite.bundle.onnx_file import OnnxFile
from glmlite.bundle.onnx_graphs import ALL_LOGITS
from glmlite.errors import EngineError
from glmlite.runtime.engines.base import Float32Array, Int32Array
from glmlite.runtime.engines.onnx_cache import OnnxCache
from glmlite.runtime.engines.onnx_session import first_words, import_onnxruntime

# Attention that writes keys and values where it reads them, and never writes scores out.
FUSED_ATTENTION = "GroupQueryAttention"
# Writes into its input, if its output is bound to the same buffer.
SCATTER = "ScatterND"


class OnnxGraph:
    """An open graph.

    Args:
        session: of ONNX Runtime.
        entry: its inputs and outputs in the contract's order.
        file: what it says of itself.

    Attributes:
        is_fused: attention is ONNX Runtime's GroupQueryAttention: several rows are taken only with
            one token each, and a slot is written for every token, valid or not.
    """

    def __init__(self, session: Any, entry: GraphEntry, file: OnnxFile) -> None:
        self.session = session
        self.entry = entry
        self.is_fused = has_fused_attention(file)
        self.takes_all_logits = any(info.name == ALL_LOGITS for info in file.inputs)
        self.logits_shape = file.outputs[0].shape
        self._onnxruntime = import_onnxruntime()

    def run(
        self,
        cache: OnnxCache,
        first: int,
        rows: tuple[Int32Array, Int32Array, Int32Array],
        every_row: bool,
    ) -> Float32Array:
        """Run one chunk on neighbouring rows of a cache.

        Args:
            cache: gets the chunk's keys and values.
            first: the first of its rows.
            rows: input_ids [n, T], position [n] and valid_length [n].
            every_row: whether the logits of all tokens are wanted.

        Returns:
            float32 [n, V], or [n, T, V]; the caller's own.

        Raises:
            EngineError: ONNX Runtime failed.
        """
        key = (self.entry.file, first, len(rows[0]), cache.turned)
        binding = cache.bindings.get(key)
        if binding is None:
            binding = cache.bindings[key] = Binding(self, cache, first, len(rows[0]))
        try:
            logits: Float32Array = binding.run(rows, every_row)
        except Exception as error:
            raise EngineError(
                "{engine} failed in a step: {error}",
                engine=f"ONNX Runtime {self._onnxruntime.__version__}",
                error=first_words(error),
            ) from error
        return logits

    def value(self, array: np.ndarray[Any, Any]) -> Any:
        """An `OrtValue` over an array's own memory."""
        return self._onnxruntime.OrtValue.ortvalue_from_numpy(array)


def has_fused_attention(file: OnnxFile) -> bool:
    """Whether a graph has attention that costs what a row holds, not what S is."""
    return file.counts(FUSED_ATTENTION) > 0


def writes_in_place(file: OnnxFile) -> bool:
    """Whether a graph updates its cache in place."""
    return has_fused_attention(file) or file.counts(SCATTER) > 0


def rounds_activations(file: OnnxFile) -> bool:
    """Whether a graph multiplies by integers, what comes in being rounded to integers first."""
    return any(file.counts(operator) for operator in ("MatMulNBits", "MatMulIntegerToFloat"))


class Binding:
    """A graph's inputs and outputs tied to neighbouring rows of a cache, step after step.

    Decoding repeats the same shapes: nothing is bound anew then, ids and positions are written
    where the graph reads them.

    Args:
        graph: to run.
        cache: whose `current` is read and whose `other` is written.
        first: the first row.
        count: of rows.
    """

    def __init__(self, graph: OnnxGraph, cache: OnnxCache, first: int, count: int) -> None:
        self._graph = graph
        self._binding = graph.session.io_binding()
        entry, part = graph.entry, slice(first, first + count)
        for names, arrays, bind in (
            (entry.inputs[3:], cache.current, self._binding.bind_ortvalue_input),
            (entry.outputs[1:], cache.other, self._binding.bind_ortvalue_output),
        ):
            for name, array in zip(names, arrays, strict=True):
                bind(name, graph.value(array[part]))
        self._rows = tuple(np.zeros(count, np.int32) for _ in range(2))
        for name, row in zip(entry.inputs[1:3], self._rows, strict=True):
            self._binding.bind_ortvalue_input(name, graph.value(row))
        self._ids: Int32Array = np.zeros((count, 0), np.int32)
        self._logits: Float32Array = np.zeros(0, np.float32)
        self._wanted = np.zeros((), np.int32)
        if graph.takes_all_logits:
            self._binding.bind_ortvalue_input(ALL_LOGITS, graph.value(self._wanted))

    def run(self, rows: tuple[Int32Array, Int32Array, Int32Array], every_row: bool) -> Float32Array:
        """See `OnnxGraph.run`."""
        input_ids, *others = rows
        if self._ids.shape != input_ids.shape:
            self._ids = np.zeros(input_ids.shape, np.int32)
            self._binding.bind_ortvalue_input(
                self._graph.entry.inputs[0], self._graph.value(self._ids)
            )
        self._ids[:] = input_ids
        for mine, given in zip(self._rows, others, strict=True):
            mine[:] = given
        self._wanted[...] = every_row
        self._bind_logits(input_ids.shape, every_row)
        self._graph.session.run_with_iobinding(self._binding)
        if every_row:  # too large to be kept, or copied
            logits, self._logits = self._logits, np.zeros(0, np.float32)
            return logits
        last: Float32Array = self._logits.reshape(len(input_ids), -1).copy()
        return last

    def _bind_logits(self, shape: tuple[int, ...], every_row: bool) -> None:
        batch, tokens = shape
        vocabulary = self._graph.logits_shape[-1]
        assert isinstance(vocabulary, int)  # noqa: S101 - `check_onnx_graphs` saw to it
        sizes: tuple[int, ...] = (batch, vocabulary)
        if len(self._graph.logits_shape) == 3:
            sizes = (batch, tokens if every_row else 1, vocabulary)
        if self._logits.shape != sizes:
            self._logits = np.empty(sizes, np.float32)
            self._binding.bind_ortvalue_output(
                self._graph.entry.outputs[0], self._graph.value(self._logits)
            )
