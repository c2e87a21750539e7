"""The devices that `glmlite plan` knows: what they can do at best, and what of it is reached.

Peaks come from CANN's own description of each chip, `data/platform_config/Ascend*.ini` of its
toolkit: AI cores x clock x what one core does in a cycle (a cube of 16 x 16 x 16 float16
multiplications and additions; 32 bytes from memory). Shares are what published or measured figures
reach of these peaks, end to end. docs/planning.md shows the arithmetic.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Literal

from glmlite.errors import ConfigError

GIB = 1 << 30
Kind = Literal["ascend", "cpu"]
_CUBE = 2 * 16**3  # float16 operations a core and cycle
_FROM_MEMORY = 32  # bytes a core and cycle


@dataclasses.dataclass(frozen=True)
class Factor:
    """A number between 0 and 1 that no data sheet tells.

    Attributes:
        value: what is reckoned with.
        low: the least of what it was derived from. high: the most.
        source: where it comes from, a name of `sources`.
    """

    value: float
    low: float
    high: float
    source: str

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.value <= self.high <= 1:
            raise ValueError(f"a share of {self.low} … {self.value} … {self.high}")


@dataclasses.dataclass(frozen=True)
class Gain:
    """A ratio, e.g. of two speeds, with the least and the most that it was found to be."""

    value: float
    low: float
    high: float
    source: str


@dataclasses.dataclass(frozen=True)
class Device:
    """A device, or a machine's processor.

    Attributes:
        name: as in `--device`. title: what it is.
        kind: "ascend" or "cpu".
        memory: bytes.
        reserve: bytes of them that are taken before the first weight is loaded.
        bandwidth: bytes a second from memory, at best.
        flops: multiplications and additions a second, at best: float16 on Ascend, float32 on CPUs.
        products: the same of ONNX Runtime's kernels by kind of weights, where they were measured.
        read_share: of the bandwidth that decoding reaches, end to end.
        compute_share: of the flops that prefill reaches, end to end.
        layer_seconds: of a step, at least, for each layer: launching its operators.
        int8_gain: how much faster decoding is with int8 weights than with float16 ones. Integers
            are turned into float16 on the device, which eats most of what is not read.
        source: of memory, bandwidth and flops. reserve_source: of the reserve.
    """

    name: str
    title: str
    kind: Kind
    memory: int
    reserve: int
    bandwidth: float
    flops: float
    read_share: Factor
    compute_share: Factor
    source: str
    reserve_source: str = ""
    int8_gain: Gain | None = None
    layer_seconds: float = 0.0
    products: Mapping[str, float] = dataclasses.field(default_factory=dict)


def _peaks(cores: int, clock: float) -> tuple[float, float]:
    """(bytes a second, float16 operations a second) of so many AI cores at `clock` Hz."""
    return cores * clock * _FROM_MEMORY, cores * clock * _CUBE


_DECODE = Factor(
    0.28,
    0.24,
    0.32,
    "decode",
)
_PREFILL_910A = Factor(0.19, 0.11, 0.25, "prefill_910a")
_PREFILL_910B = Factor(
    0.41,
    0.35,
    0.47,
    "prefill_910b",
)


_RESERVE = "reserve_assumed"
# Twenty operators of ten microseconds. Assumed; it matters to models far smaller than the 6B ones.
_LAYER_SECONDS = 2e-4
_INT8_910B = Gain(1.085, 1.07, 1.10, "int8_910b")
_INT8_ELSEWHERE = Gain(1.0, 0.9, 1.10, "int8_assumed")


def _ascend() -> dict[str, Device]:
    bandwidth_a, flops_a = _peaks(32, 1.0e9)
    bandwidth_b, flops_b = _peaks(24, 1.8e9)
    return {
        "910b": Device(
            "910b",
            "Ascend 910B, 64 GB (Atlas 800T A2, 800I A2)",
            "ascend",
            64 * GIB,
            3 * GIB,
            bandwidth_b,
            flops_b,
            _DECODE,
            _PREFILL_910B,
            "ascend910b2c",
            _RESERVE,
            _INT8_910B,
            _LAYER_SECONDS,
        ),
        "910a": Device(
            "910a",
            "Ascend 910A, 32 GB (Atlas 800)",
            "ascend",
            32 * GIB,
            3 * GIB,
            bandwidth_a,
            flops_a,
            _DECODE,
            _PREFILL_910A,
            "ascend910a",
            _RESERVE,
            _INT8_ELSEWHERE,
            _LAYER_SECONDS,
        ),
        "310p": Device(
            "310p",
            "Ascend 310P3, 24 GB (Atlas 300I Pro)",
            "ascend",
            21534 << 20,
            1074 << 20,
            204e9,
            70e12,
            dataclasses.replace(_DECODE, source="decode_assumed"),
            dataclasses.replace(_PREFILL_910A, source="prefill_assumed"),
            "300i_duo",
            "reserve_idle",
            _INT8_ELSEWHERE,
            _LAYER_SECONDS,
        ),
    }


DEVICES: dict[str, Device] = _ascend()
NAMES = (*DEVICES, "cpu")


def find_device(name: str) -> Device:
    """A device of the table; "cpu" is not in it, since every machine is another.

    Raises:
        ConfigError: it is unknown; the known ones are listed, the nearest first.
    """
    known = name.strip().lower()
    if known in DEVICES:
        return DEVICES[known]
    near = difflib.get_close_matches(known, NAMES, n=1, cutoff=0.0)[0]
    raise ConfigError(
        "There is no device {name!r}; the nearest is {near}. All: {known}.",
        hint="For another card give its own numbers: --device {near} --memory GB --bandwidth GB/S "
        "--compute TFLOP/S",
        name=name[:40],
        near=near,
        known=", ".join(NAMES),
    )
