"""How an engine runs, whichever it is."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from glmlite.errors import ConfigError, EngineError
from glmlite.runtime.engines.lite_config.build import load_configs
from glmlite.runtime.ranges import check_integer

DEVICES = ("auto", "cpu", "ascend")
# More of them only wait for each other, and a great many do nothing else.
THREADS_PER_PROCESSOR = 16


@dataclasses.dataclass(frozen=True)
class EngineOptions:
    """Options of all engines; one that the chosen engine does not have is refused (`resolve`).

    Attributes:
        toolchain: interpreter of the engines `lite` and `mindspore`; None: `GLMLITE_TOOLCHAIN`,
            else this one.
        threads: CPU threads; None leaves it to the engine.
        device: "auto" (Ascend where its driver is), "cpu" or "ascend"; for `lite`.
        device_id: Ascend device. rank_id: its rank in a distributed run.
        provider: Lite's Ascend provider, e.g. "ge"; None leaves it to Lite.
        engine_config: Lite's ini file or the name of one in runtime/, or "prefill.ini,decode.ini";
            None takes a shipped one on Ascend (`lite_config.build.DEFAULTS`).

    Raises:
        ConfigError: a value is of another type, or below its range.
        EngineError: it names what this machine does not have.
    """

    toolchain: str | os.PathLike[str] | None = None
    threads: int | None = None
    device: str = "auto"
    device_id: int = 0
    rank_id: int = 0
    provider: str | None = None
    engine_config: str | None = None

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise EngineError(
                "device is {found!r}; it must be auto, cpu or ascend.", found=self.device
            )
        for name, least in (("threads", 1), ("device_id", 0), ("rank_id", 0)):
            value = getattr(self, name)
            if value is not None or name != "threads":
                # NumPy's integers are not JSON, which workers are told in.
                object.__setattr__(self, name, check_integer(name, value, least))
        if self.threads is not None:
            _check_most(self.threads)
        _check_text("toolchain", self.toolchain, (str, os.PathLike))
        _check_text("provider", self.provider)
        _check_text("engine_config", self.engine_config)
        if self.engine_config:
            load_configs(self.engine_config)

    def resolve(self, engine: str, has_ascend: bool) -> EngineOptions:
        """These options for one engine, its device settled.

        Raises:
            EngineError: an option is set that this engine, or its device, does not have.
        """
        device = self.device
        if device == "auto":
            device = "ascend" if engine == "lite" and has_ascend else "cpu"
        idle = [] if engine == "lite" else ["engine_config"]
        if device == "cpu":
            idle += ["device_id", "rank_id", "provider"]
        elif engine != "lite":
            idle.append("device")
        given = [name for name in idle if getattr(self, name)]
        if given:
            raise EngineError(
                "The engine {engine} on {device} has no {options}.",
                hint="Leave it out; device_id, rank_id, provider and engine_config belong to "
                "MindSpore Lite (engine lite), the first three to Ascend.",
                engine=engine,
                device=device,
                options=", ".join(given),
            )
        return dataclasses.replace(self, device=device)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the toolchain; what `engine_config` means is added for each graph."""
        data = dataclasses.asdict(self)
        del data["toolchain"], data["engine_config"]
        return data


def _check_most(threads: int) -> None:
    """Refuse what this machine cannot run."""
    most = THREADS_PER_PROCESSOR * (os.cpu_count() or 1)
    if threads > most:
        raise EngineError(
            "threads is {found}; on {cores} processors it may be at most {most}.",
            hint="Leave it out, or give the number of physical cores.",
            found=threads,
            cores=os.cpu_count() or 1,
            most=most,
        )


def _check_text(name: str, value: object, kinds: tuple[type, ...] = (str,)) -> None:
    if value is not None and not isinstance(value, kinds):
        raise ConfigError("{name} is {found!r}; it must be text.", name=name, found=value)
