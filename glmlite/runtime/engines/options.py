"""How an engine runs, whichever it is."""

from __future__ import annotations

import configparser
import dataclasses
import os
from typing import Any

from glmlite.errors import EngineError

DEVICES = ("auto", "cpu", "ascend")


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
        engine_config: Lite's ini file, or "prefill.ini,decode.ini".
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
        if self.threads is not None and self.threads < 1:
            raise EngineError("threads is {found}; it must be at least 1.", found=self.threads)
        for path in (self.engine_config or "").split(","):
            if path:
                _check_ini(path)

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
        """Plain data for the toolchain, paths absolute."""
        data = dataclasses.asdict(self)
        del data["toolchain"]
        if self.engine_config:
            paths = self.engine_config.split(",")
            data["engine_config"] = ",".join(os.path.abspath(p) for p in paths)
        return data


def _check_ini(path: str) -> None:
    """Refuse what is no ini file: Lite itself passes over one that it cannot parse."""
    if not os.path.isfile(path):
        raise EngineError("The engine's configuration {path} is no file.", path=path)
    parser = configparser.ConfigParser(interpolation=None, strict=True, delimiters=("=",))
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        raise EngineError(
            "The engine's configuration {path} is no ini file: {error}",
            path=path,
            error=str(error),
        ) from error
    if not parser.sections():
        raise EngineError("The engine's configuration {path} has no section.", path=path)
