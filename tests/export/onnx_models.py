"""Tiny models and plain ONNX Runtime sessions for tests of the graphs themselves, without engines.

The fixtures' heads have 12 or 20 channels, which GroupQueryAttention refuses, so most of them prove
the attention that is written out; the wide variants here prove the fused one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glmlite.bundle import Bundle
from glmlite.exporter.pipeline import run_export
from tests.fixtures import drawing
from tests.fixtures.models import MODELS, TinyModel
from tests.fixtures.writing import write_checkpoint
from tests.oracle import forward64

TOLERANCE = 1e-4  # of float32, on logits of deviation 2


def _wide(name: str, channels: int = 32, **changes: Any) -> TinyModel:
    model = MODELS[name]
    config = model.config | {"kv_channels": channels} | changes
    return dataclasses.replace(model, name=f"wide_{name}", config=config)


WIDE = {
    model.name: model
    for model in (
        _wide("glm2"),
        _wide("glm2_32k"),
        _wide("glm3_32k"),
        _wide("one_group"),
        _wide("every_head_a_group"),
        _wide("odd_sizes", 64),
        _wide("prefix"),
        _wide("fp16_shards"),
    )
}
ALL = MODELS | WIDE


def export(model: TinyModel, folder: Path, flavor: str, **changes: Any) -> Bundle:
    """A bundle of a model in `folder`; `changes` go to the recipe's `export`."""
    checkpoint = write_checkpoint(model, folder / "checkpoint")
    section: dict[str, Any] = {"checkpoint": str(checkpoint), "family": model.family}
    if model.prefix_length:
        section["adapter"] = str(checkpoint / "adapter")
    recipe = {
        "model": section,
        "export": {
            "output": str(folder / flavor),
            "format": "onnx",
            "flavor": flavor,
            "cache_length": 96,
            "prefill_tokens": 32,
            "parity": "off",
            **changes,
        },
    }
    return Bundle.open(run_export(recipe).path)


def logits_of(model: TinyModel, ids: Sequence[int]) -> NDArray[np.float64]:
    """The oracle's logits [len(ids), V]."""
    return forward64.forward(
        drawing.tensors(model),
        model.config,
        list(ids),
        rope=model.rope,
        prefix=drawing.prefix_cache(model),
    ).logits


class Graph:
    """A bundle's graph in a session of its own, with a cache, for one row or several.

    Args:
        bundle: its first graph is run, for the score phase its last.
        score: whether it is the score phase's.
        slots: S; None for the manifest's cache_length.
    """

    def __init__(self, bundle: Bundle, *, score: bool = False, slots: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        manifest = bundle.manifest
        entry = next(g for g in manifest.graphs if (g.phase == "score") == score)
        self.session = onnxruntime.InferenceSession(
            str(bundle.path / entry.file), options, providers=["CPUExecutionProvider"]
        )
        self.entry, self.model = entry, manifest.model
        self.prefix = bundle.prefix_cache() or []
        self.prefix_length = manifest.prefix_length
        self.slots = slots or entry.cache_length
        self.fused = manifest.graphs[0].flavor == "ort"
        self.cache: list[NDArray[np.float32]] = []
        self.clear(1)

    def clear(self, batch: int) -> None:
        """Begin with an empty cache of so many rows."""
        model = self.model
        shape = (batch, model.num_groups, self.slots, model.head_dim)
        self.cache = [np.zeros(shape, np.float32) for _ in range(2 * model.num_layers)]
        for layer, pair in enumerate(self.prefix):
            for part, values in enumerate(pair):
                self.cache[2 * layer + part][:, :, : self.prefix_length] = values

    def run(
        self,
        ids: Sequence[Sequence[int]],
        position: Sequence[int],
        valid: Sequence[int] | None = None,
        all_logits: int | None = None,
    ) -> NDArray[np.float32]:
        """Logits of one chunk; the cache is written in place where the graph can do so."""
        from onnxruntime import OrtValue

        chunk = np.array(ids, np.int32)
        lengths = [chunk.shape[1]] * len(chunk) if valid is None else valid
        rows = [chunk, np.array(position, np.int32), np.array(lengths, np.int32)]
        binding = self.session.io_binding()
        for name, array in zip(self.entry.inputs, [*rows, *self.cache], strict=True):
            binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(array))
        if all_logits is not None:
            value = OrtValue.ortvalue_from_numpy(np.array(all_logits, np.int32))
            binding.bind_ortvalue_input("all_logits", value)
        binding.bind_output("logits")
        for name, array in zip(self.entry.outputs[1:], self.cache, strict=True):
            if self.fused:
                binding.bind_ortvalue_output(name, OrtValue.ortvalue_from_numpy(array))
            else:
                binding.bind_output(name)
        self.session.run_with_iobinding(binding)
        logits, *present = binding.get_outputs()
        if not self.fused:
            self.cache = [value.numpy() for value in present]
        result: NDArray[np.float32] = logits.numpy()
        return result
