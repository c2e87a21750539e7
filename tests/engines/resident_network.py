"""glmlite's network with its cache in Parameters: what `inputs_to_variable` makes of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from glmlite.bundle.manifest import GraphEntry
from glmlite.model.config import ModelConfig
from glmlite.toolchain.mindspore_backend import set_cpu
from glmlite.toolchain.network import Network


class Resident(nn.Cell):
    """(input_ids, position, valid_length) -> logits; every output of the cache is assigned."""

    def __init__(self, network: Network, config: ModelConfig, batch: int, length: int) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        shape = (batch, config.num_groups, length, config.head_dim)
        self.count = 2 * config.num_layers
        for i in range(self.count):
            cache = Parameter(Tensor(np.zeros(shape, np.float32)), name=f"cache{i}_s{length}")
            setattr(self, f"cache{i}", cache)
        self.assign, self.depend = ops.Assign(), ops.Depend()

    def construct(self, input_ids: Tensor, position: Tensor, valid_length: Tensor) -> Tensor:
        past = ()
        for i in range(self.count):
            past = (*past, getattr(self, f"cache{i}"))
        outputs = self.network(input_ids, position, valid_length, *past)
        logits = outputs[0]
        for i in range(self.count):
            logits = self.depend(logits, self.assign(getattr(self, f"cache{i}"), outputs[1 + i]))
        return logits


def export_resident(
    config: ModelConfig,
    weights: Any,
    folder: Path,
    sizes: Sequence[tuple[int, int]],
    batch: int,
) -> tuple[GraphEntry, ...]:
    """A graph for each (T, S) of `sizes`."""
    set_cpu(ms)
    arrays = {name: np.asarray(weights.read(name), np.float32) for name in weights.shapes()}
    entries = []
    for tokens, length in sizes:
        parameters = {
            name: Parameter(Tensor(array), name=name, requires_grad=False)
            for name, array in arrays.items()
        }
        network = Network(config.to_dict(), parameters, batch, tokens, length)
        net = Resident(network, config, batch, length)
        net.set_train(False)
        inputs = [
            Tensor(np.zeros(shape, np.int32)) for shape in ((batch, tokens), (batch,), (batch,))
        ]
        name = f"t{tokens}_s{length}"
        ms.export(net, *inputs, file_name=str(folder / name), file_format="MINDIR")
        (folder / f"{name}.mindir").chmod(0o644)
        phase = "decode" if tokens == 1 else "prefill"
        entries.append(GraphEntry(phase, tokens, length, batch, "mindir", f"{name}.mindir", (), ()))
    return tuple(entries)
