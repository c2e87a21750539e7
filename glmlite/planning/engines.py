"""What CPU engines reach of a machine, what they keep in memory, and what an export takes.

Shares were measured on bundles of 4 layers in ChatGLM2-6B's shapes, beside the machine's own read
bandwidth and float32 matrix product; docs/planning.md has the figures and the commands.
"""

from __future__ import annotations

import dataclasses
import difflib

from glmlite.errors import ConfigError
from glmlite.planning.devices import GIB, Factor
from glmlite.planning.storage import Layout, WeightKind

_MEASURED = "measured"
# On another machine, or in words only.
_FACTS = "facts"
_MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class CpuEngine:
    """One engine.

    Attributes:
        name: as in `--engine`.
        read_share: of the read bandwidth in decoding, by kind of weights; the kinds that are here
            stay as they are stored, others become float32 as they load.
        compute_share: of the machine's float32 matrix product in prefill, by kind.
        copies_a_graph: whether each graph keeps the weights for itself.
        load_copies: copies of one graph's weights at the worst moment of loading.
        cache_copies: of the cache.
        in_place: whether the cache is appended to instead of rewritten.
        base: bytes of the process without a model.
        load_rate: bytes of stored weights a second while loading, from the page cache.
        call_seconds: a step's cost beside its arithmetic.
    """

    name: str
    read_share: dict[WeightKind, Factor]
    compute_share: dict[WeightKind, Factor]
    copies_a_graph: bool
    load_copies: float
    cache_copies: int
    in_place: bool
    base: int
    load_rate: float
    call_seconds: float

    @property
    def native(self) -> tuple[WeightKind, ...]:
        """Kinds of weights that stay as they are stored."""
        return tuple(self.read_share)

    def kind_in_memory(self, weights: WeightKind) -> WeightKind:
        """What weights are once they are loaded."""
        return weights if weights in self.native else "float32"


ENGINES: dict[str, CpuEngine] = {
    "mindspore": CpuEngine(
        "mindspore",
        # Its float16 products are about ten times slower, though they read half as much.
        {
            "float32": Factor(0.7, 0.5, 0.95, _MEASURED),
            "float16": Factor(0.04, 0.03, 0.06, _FACTS),
        },
        {
            "float32": Factor(0.3, 0.2, 0.6, _MEASURED),
            "float16": Factor(0.03, 0.02, 0.06, _FACTS),
        },
        copies_a_graph=False,
        load_copies=1,
        cache_copies=2,
        in_place=False,
        base=700 * _MIB,
        load_rate=1.5e9,
        call_seconds=0.015,
    ),
    "lite": CpuEngine(
        "lite",
        {"float32": Factor(0.7, 0.5, 0.95, _FACTS)},
        {"float32": Factor(0.3, 0.2, 0.6, _FACTS)},
        copies_a_graph=True,
        load_copies=3,
        cache_copies=3,
        in_place=False,
        base=200 * _MIB,
        load_rate=75e6,
        call_seconds=0.004,
    ),
    "onnx": CpuEngine(
        "onnx",
        {
            "float32": Factor(0.5, 0.35, 0.9, _MEASURED),
            "int8": Factor(0.65, 0.3, 0.95, _MEASURED),
            "int4": Factor(0.6, 0.4, 0.85, _MEASURED),
        },
        {
            "float32": Factor(0.5, 0.3, 0.8, _MEASURED),
            "int8": Factor(0.5, 0.3, 1.0, _MEASURED),
            "int4": Factor(0.8, 0.3, 1.0, _MEASURED),
        },
        copies_a_graph=False,
        load_copies=1,
        cache_copies=1,
        in_place=True,
        base=200 * _MIB,
        load_rate=300e6,
        call_seconds=0.002,
    ),
}


@dataclasses.dataclass(frozen=True)
class ExportCost:
    """What writing a bundle takes, without parity.

    Attributes:
        base: bytes of memory beside the weights: exports stream them.
        disk_copies: copies of the weights on disk at the worst moment.
        layer_bytes: of one graph file for each layer.
        slot_bytes: of one graph file for each cache slot and token, and each of head_dim: tables.
    """

    base: int
    disk_copies: int
    layer_bytes: int
    slot_bytes: int

    def memory(self, stored: Layout) -> int:
        """Bytes at the peak; one block of one tensor is in memory at a time."""
        return self.base


EXPORT: dict[str, ExportCost] = {
    "mindir": ExportCost(int(1.4 * GIB), 1, 40_000, 8),
    "onnx": ExportCost(int(0.6 * GIB), 1, 40_000, 0),
}


def find_engine(name: str, graph_format: str) -> CpuEngine:
    """The CPU engine of that name; "auto" is onnx for ONNX graphs, else mindspore.

    Raises:
        ConfigError: it is unknown, or does not read graphs of this format.
    """
    if name == "auto":
        return ENGINES["onnx" if graph_format == "onnx" else "mindspore"]
    if name not in ENGINES:
        raise ConfigError(
            "There is no engine {name!r} to plan for; the nearest is {near}. All: {known}.",
            name=name[:40],
            near=difflib.get_close_matches(name, ENGINES, n=1, cutoff=0.0)[0],
            known=", ".join(ENGINES),
        )
    if (name == "onnx") != (graph_format == "onnx"):
        raise ConfigError(
            "The engine {engine} does not run graphs of format {format}.",
            hint="Add --set export.format=onnx for the engine onnx; mindspore and lite run mindir.",
            engine=name,
            format=graph_format,
        )
    return ENGINES[name]
