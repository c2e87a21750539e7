"""What CPU engines reach of a machine, what they keep in memory, and what an export takes.

Shares were measured on bundles of 4 layers in ChatGLM2-6B's shapes, beside the machine's own read
bandwidth and float32 matrix product; docs/planning.md has the figures and the commands.
"""

from __future__ import annotations

import dataclasses
import difflib

from glmlite.errors import ConfigError
from glmlite.planning.devices import GIB, Device, Factor, Gain
from glmlite.planning.speed import NO_GAIN, NOTHING
from glmlite.planning.storage import Layout, MatrixKind

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
        compute_share: of its kernels' arithmetic in prefill, by kind.
        copies_a_graph: whether each graph keeps the weights for itself.
        load_copies: copies of one graph's weights at the worst moment of loading.
        cache_copies: of the cache.
        in_place: whether the cache is appended to instead of rewritten.
        base: bytes of the process without a model.
        load_rate: bytes of stored weights a second while loading, from the page cache.
        call_seconds: a step's cost beside its arithmetic.
        has_own_products: whether its kernels' arithmetic is another than NumPy's float32 product.
        value_flops: what norms, softmax, activation functions and rounding take for each value of
            a layer's activations, in float32 operations.
    """

    name: str
    read_share: dict[MatrixKind, Factor]
    compute_share: dict[MatrixKind, Factor]
    copies_a_graph: bool
    load_copies: float
    cache_copies: int
    in_place: bool
    base: int
    load_rate: float
    call_seconds: float
    has_own_products: bool = False
    value_flops: Gain = NOTHING

    @property
    def native(self) -> tuple[MatrixKind, ...]:
        """Kinds of weights that stay as they are stored."""
        return tuple(self.read_share)

    def kind_in_memory(self, weights: MatrixKind) -> MatrixKind:
        """What weights are once they are loaded."""
        return weights if weights in self.native else "float32"

    def product(self, device: Device, kind: MatrixKind) -> Gain:
        """The arithmetic of its kernels for a kind of weights in memory, in the device's `flops`.

        Where ONNX Runtime's were not measured, what they were on other machines.
        """
        if not self.has_own_products:
            return NO_GAIN
        speed = device.products.get(kind)
        if speed is None:
            return _ASSUMED[kind]
        ratio = speed / device.flops
        return Gain(ratio, ratio, ratio, "products")


# From AVX2 without VNNI to AMX: docs/planning.md.
_ASSUMED: dict[MatrixKind, Gain] = {
    "float32": Gain(1.0, 0.9, 1.1, "products_assumed"),
    "int8": Gain(1.0, 0.75, 1.4, "products_assumed"),
    "w8a8": Gain(4.0, 2.0, 8.5, "products_assumed"),
    "int4": Gain(1.2, 1.0, 1.4, "products_assumed"),
}

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
            "int8": Factor(0.8, 0.5, 0.9, _MEASURED),
            "w8a8": Factor(0.82, 0.6, 0.92, _MEASURED),
            "int4": Factor(0.69, 0.52, 0.75, _MEASURED),
        },
        {
            "float32": Factor(0.5, 0.3, 1.0, _MEASURED),
            "int8": Factor(1.0, 0.75, 1.0, _MEASURED),
            "w8a8": Factor(1.0, 0.75, 1.0, _MEASURED),
            "int4": Factor(1.0, 0.75, 1.0, _MEASURED),
        },
        copies_a_graph=False,
        load_copies=1,
        cache_copies=1,
        in_place=True,
        base=200 * _MIB,
        load_rate=700e6,
        call_seconds=0.002,
        has_own_products=True,
        value_flops=Gain(420.0, 150.0, 800.0, _MEASURED),
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
