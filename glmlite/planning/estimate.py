"""Memory, disk, time to load and speed of one subject on one device."""

from __future__ import annotations

import dataclasses
from typing import Any

from glmlite.errors import ConfigError
from glmlite.planning.devices import Device, Factor, Gain
from glmlite.planning.engines import EXPORT, CpuEngine, ExportCost, find_engine
from glmlite.planning.speed import Reach, Speed, Traffic, phase_speed
from glmlite.planning.storage import ON_DEVICE, Layout, WeightSet
from glmlite.planning.subject import Subject
from glmlite.planning.work import Step, cache_values, workspace

_TOKENIZER = 1 << 20


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of a device's memory, or of the host's where the engine runs on its CPU.

    Attributes:
        weights: as the engine holds them. cache: of one session of B rows.
        workspace: of the largest graph; graphs run one after the other.
        reserve: taken before the model: driver and run time, or the process.
        peak: at the worst moment, while loading.
        capacity: of the device.
    """

    weights: int
    cache: int
    workspace: int
    reserve: int
    peak: int
    capacity: int

    @property
    def total(self) -> int:
        """Bytes in use while answering."""
        return self.weights + self.cache + self.workspace + self.reserve

    @property
    def needed(self) -> int:
        """Bytes that must be there."""
        return max(self.total, self.peak)

    @property
    def fits(self) -> bool:
        """Whether the device has as much."""
        return self.needed <= self.capacity


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Everything that `glmlite plan` tells of a subject.

    Attributes:
        engine: what would run it.
        memory: see `Memory`.
        host_memory: bytes of the host at most while an Ascend loads; None where the host is what
            `memory` is about.
        disk: bytes of the bundle. disk_peak: while it is exported.
        export_memory: bytes at the peak of an export.
        load_seconds: None where nobody measured it.
        decode, prefill: tokens a second; of prefill in chunks of `chunk`.
        supported: whether the engine has kernels for these weights.
    """

    subject: Subject
    device: Device
    engine: str
    memory: Memory
    host_memory: int | None
    disk: int
    disk_peak: int
    export_memory: int
    load_seconds: float | None
    decode: Speed
    prefill: Speed
    supported: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data: bytes, seconds, tokens a second."""
        subject = self.subject
        return {
            "name": subject.name,
            "device": self.device.name,
            "engine": self.engine,
            "weights": subject.weights,
            "format": subject.format,
            "batch_size": subject.batch_size,
            "cache_length": subject.cache_length,
            "prefill_tokens": subject.chunk,
            "supported": self.supported,
            "fits": self.memory.fits,
            "memory": dataclasses.asdict(self.memory)
            | {"total": self.memory.total, "needed": self.memory.needed},
            "host_memory": self.host_memory,
            "disk": self.disk,
            "disk_peak": self.disk_peak,
            "export_memory": self.export_memory,
            "load_seconds": self.load_seconds,
            "decode": dataclasses.asdict(self.decode),
            "prefill": dataclasses.asdict(self.prefill),
        }


def estimate(subject: Subject, device: Device, engine: str = "auto") -> Estimate:
    """Estimate a subject on a device.

    Args:
        subject: from `from_config` or `from_bundle`.
        device: from `find_device`, or a measured CPU.
        engine: of a CPU: mindspore, lite or onnx; "auto" takes the one that fits the format.

    Raises:
        ConfigError: the engine does not run this format, or not on this device.
    """
    stored = subject.layout(device.kind)
    cost = EXPORT[subject.format]
    disk = subject.files or _bundle_bytes(subject, stored, cost)
    common: dict[str, Any] = {
        "subject": subject,
        "device": device,
        "disk": disk,
        "disk_peak": int(disk + (cost.disk_copies - 1) * stored.file),
        "export_memory": cost.memory(stored),
    }
    if device.kind == "cpu":
        return Estimate(**common, **_on_cpu(subject, device, find_engine(engine, subject.format)))
    if engine not in ("auto", "lite"):
        raise ConfigError(
            "The engine {engine} does not run on {device}; MindSpore Lite does.",
            hint="Leave --engine out, or plan for --device cpu.",
            engine=engine,
            device=device.name,
        )
    return Estimate(**common, **_on_ascend(subject, device))


def shares(found: Estimate) -> dict[str, Factor | Gain]:
    """The factors behind an estimate's speeds, by name."""
    device, subject = found.device, found.subject
    if device.kind == "ascend":
        result: dict[str, Factor | Gain] = {
            "read_share": device.read_share,
            "compute_share": device.compute_share,
        }
        if subject.weights == "int8" and device.int8_gain:
            result["int8_gain"] = device.int8_gain
        return result
    engine = find_engine(found.engine, subject.format)
    decode, prefill = map(engine.kind_in_memory, subject.layout("cpu").kinds)
    result = {
        "read_share": engine.read_share[decode],
        "compute_share": engine.compute_share[prefill],
    }
    if engine.has_own_products:
        result["product"] = engine.product(device, prefill)
        result["value_flops"] = engine.value_flops
    return result


def _bundle_bytes(subject: Subject, stored: Layout, cost: ExportCost) -> int:
    model = subject.model
    files = subject.graphs if subject.format == "mindir" else subject.graphs[:1]
    graphs = sum(
        cost.layer_bytes * model.num_layers
        + cost.slot_bytes * model.head_dim * (graph.cache_length + graph.tokens)
        for graph in files
    )
    return stored.file + graphs + _TOKENIZER


def _steps(subject: Subject) -> list[tuple[Step, bool]]:
    """Every graph as a step, and whether it scores."""
    return [
        (Step(g.batch_size, g.tokens or subject.chunk, g.cache_length), g.phase == "score")
        for g in subject.graphs
    ]


def _on_ascend(subject: Subject, device: Device) -> dict[str, Any]:
    stored, model = subject.layout("ascend"), subject.model
    size = 4 if subject.weights == "float32" else 2
    # Two sets of device Tensors, that a step reads and writes in turn.
    cache = 2 * size * cache_values(model, subject.batch_size, subject.cache_length)
    space = max(workspace(model, step, size, score) for step, score in _steps(subject))
    memory = Memory(
        weights=stored.total,
        cache=cache,
        workspace=space,
        reserve=device.reserve,
        peak=stored.total + device.reserve,
        capacity=device.memory,
    )
    return {
        "engine": "lite",
        "memory": memory,
        "host_memory": 2 * stored.total,
        "load_seconds": None,
        "supported": subject.weights in (*ON_DEVICE["ascend"], "float32")
        and subject.format == "mindir",
        **_ascend_speeds(subject, device, stored.decode.read, size),
    }


def _ascend_speeds(subject: Subject, device: Device, read: int, size: int) -> dict[str, Speed]:
    reach = Reach(
        device.read_share,
        device.compute_share,
        least=device.layer_seconds * subject.model.num_layers,
    )

    def speeds(subject: Subject, read: int) -> dict[str, Speed]:
        traffic = Traffic(read, size, in_place=False)
        return {
            phase: phase_speed(subject, device, tokens, traffic, reach)
            for phase, tokens in (("decode", 1), ("prefill", subject.chunk))
        }

    gain = device.int8_gain
    if subject.weights != "int8" or gain is None:
        return speeds(subject, read)
    plain = subject.with_weights("float16")
    found = speeds(plain, plain.layout("ascend").decode.read)
    base, limit = found["decode"], speeds(subject, read)["decode"].limit
    found["decode"] = Speed(
        base.value * gain.value, base.low * gain.low, base.high * gain.high, limit
    )
    return found


def _on_cpu(subject: Subject, device: Device, engine: CpuEngine) -> dict[str, Any]:
    stored, model = subject.layout("cpu"), subject.model
    is_native = all(kind in engine.native for kind in stored.kinds)
    held = stored.total if is_native else 4 * stored.matrix_values + stored.embedding
    copies = len(subject.graphs) if engine.copies_a_graph else 1
    values = cache_values(model, subject.batch_size, subject.cache_length)
    space = max(workspace(model, step, 4, score) for step, score in _steps(subject))
    memory = Memory(
        weights=copies * held,
        cache=engine.cache_copies * 4 * values,
        workspace=space,
        reserve=engine.base,
        peak=int(engine.base + (copies - 1 + engine.load_copies) * held),
        capacity=device.memory,
    )
    return {
        "engine": engine.name,
        "memory": memory,
        "host_memory": None,
        "load_seconds": copies * stored.total / engine.load_rate,
        "supported": True,
        "decode": _cpu_speed(subject, device, engine, 1, stored.decode),
        "prefill": _cpu_speed(subject, device, engine, subject.chunk, stored.prefill),
    }


def _cpu_speed(
    subject: Subject, device: Device, engine: CpuEngine, tokens: int, used: WeightSet
) -> Speed:
    kind = engine.kind_in_memory(used.kind)
    read = used.read if used.kind in engine.native else subject.layout("cpu").as_float(4)
    reach = Reach(
        engine.read_share[kind],
        engine.compute_share[kind],
        engine.product(device, kind),
        engine.value_flops,
        engine.call_seconds,
    )
    return phase_speed(subject, device, tokens, Traffic(read, 4, engine.in_place), reach)
