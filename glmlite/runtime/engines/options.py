"""How an engine runs, whichever it is."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from glmlite.errors import EngineError
from glmlite.runtime.engines.lite_config.build import load_configs

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
        if self.threads is not None:
            _check_threads(self.threads)
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


def _check_threads(threads: int) -> None:
    """Refuse what no machine, or not this one, can run."""
    if threads < 1:
        raise EngineError("threads is {found}; it must be at least 1.", found=threads)
    most = THREADS_PER_PROCESSOR * (os.cpu_count() or 1)
    if threads > most:
        raise EngineError(
            "threads is {found}; on {cores} processors it may be at most {most}.",
            hint="Leave it out, or give the number of physical cores.",
            found=threads,
            cores=os.cpu_count() or 1,
            most=most,
        )
