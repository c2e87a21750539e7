"""`runtime/tuned.json`, schema version 1: settings that were measured, and the CPU they are for."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, NoReturn

from glmlite.bundle import Bundle
from glmlite.errors import BundleError
from glmlite.i18n import _
from glmlite.runtime.engines.onnx_session import OnnxSettings
from glmlite.runtime.engines.options import EngineOptions
from glmlite.runtime.host import inspect_host

SCHEMA_VERSION = 1
ENGINE = "onnx"
# Nobody measured outside these; a file that says so was not written here.
MAX_THREADS = 1024
MAX_CHUNK = 4096
_MAX_BYTES = 1 << 16
_MAX_NAME = 200
_MAX_RATE = 1e12


@dataclasses.dataclass(frozen=True)
class TunedSettings:
    """The fastest settings of the engine `onnx` on one machine.

    Attributes:
        cpu: the processor's name, "" where the system does not tell.
        cores: logical processors that could be used.
        threads: of the engine.
        prefill_chunk: tokens of a prompt that are fed at once.
        spinning: see `OnnxSettings`.
        prompt_tokens: of the answer that was measured. new_tokens: of it, too.
        prefill_tokens_per_second: measured with these settings.
        decode_tokens_per_second: measured with these settings.
        onnxruntime: version that ran.
        engine: that the settings are for.
    """

    cpu: str
    cores: int
    threads: int
    prefill_chunk: int
    spinning: bool
    prompt_tokens: int
    new_tokens: int
    prefill_tokens_per_second: float
    decode_tokens_per_second: float
    onnxruntime: str
    engine: str = ENGINE
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            _refuse("schema_version", self.schema_version)
        if self.engine != ENGINE:
            _refuse("engine", self.engine)
        if not isinstance(self.spinning, bool):
            _refuse("spinning", self.spinning)
        for name, most in (
            ("cores", 1 << 16),
            ("threads", MAX_THREADS),
            ("prefill_chunk", MAX_CHUNK),
            ("prompt_tokens", 1 << 31),
            ("new_tokens", 1 << 31),
        ):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                _refuse(name, value)
        for name in ("cpu", "onnxruntime"):
            value = getattr(self, name)
            if not isinstance(value, str) or len(value) > _MAX_NAME or not value.isprintable():
                _refuse(name, value)
        for name in ("prefill_tokens_per_second", "decode_tokens_per_second"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 < value < _MAX_RATE:
                _refuse(name, value)

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> TunedSettings:
        """Parse and check the file.

        Raises:
            BundleError: no JSON, unknown or missing keys, values out of their range.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            _fail(str(error))
        if not isinstance(data, dict):
            _fail(_("it is no JSON object"))
        fields = {field.name for field in dataclasses.fields(cls)}
        unknown, missing = sorted(set(data) - fields), sorted(fields - set(data))
        if unknown:
            _fail(_("it has unknown keys [{unknown}]", unknown=", ".join(unknown)[:_MAX_NAME]))
        if missing:
            _fail(_("it lacks {name}", name=", ".join(missing)))
        return cls(**data)

    @property
    def machine(self) -> str:
        """The machine in words."""
        return _("{cpu}, {cores} cores", cpu=self.cpu or "?", cores=self.cores)

    @property
    def is_for_this_machine(self) -> bool:
        """Whether this is the CPU, with as many cores, that the settings were measured on."""
        return (self.cpu, self.cores) == host_identity()


def host_identity() -> tuple[str, int]:
    """`cpu` and `cores` of this machine, as the settings keep them."""
    host = inspect_host()
    return "".join(filter(str.isprintable, host.cpu))[:_MAX_NAME], host.cores


def read_settings(bundle: Bundle) -> TunedSettings | None:
    """The settings of a bundle, for this machine or another one; None where it has none.

    Raises:
        BundleError: the file is not the manifest's, or does not follow the schema.
    """
    name = bundle.manifest.tuned_settings
    if name is None:
        return None
    entry = bundle.manifest.files[name]
    if entry.size > _MAX_BYTES:
        _fail(_("it has {found} bytes", found=entry.size))
    try:
        content = (bundle.path / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            _fail(_("its sha256 is not the manifest's"))
        return TunedSettings.from_json(content.decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        _fail(str(error))


def apply_settings(
    bundle: Bundle, options: EngineOptions
) -> tuple[EngineOptions, OnnxSettings | None, str]:
    """What the engine `onnx` shall run with.

    Args:
        bundle: that is about to be run.
        options: the user's; threads that they name win.

    Returns:
        The options, the settings (None: nothing was tuned for this machine), and words for the
        reason of the engine ("" where the bundle was never tuned).

    Raises:
        BundleError: the bundle's settings are damaged.
    """
    found = read_settings(bundle)
    if found is None:
        return options, None, ""
    if not found.is_for_this_machine:
        return (
            options,
            None,
            _("tuned for another machine ({machine}): ignored", machine=found.machine),
        )
    spinning = _("on") if found.spinning else _("off")
    settings = OnnxSettings(found.prefill_chunk, found.spinning)
    if options.threads is not None:
        words = _(
            "tuned: chunks of {chunk}, spinning {spinning}; threads {threads} as asked for",
            chunk=found.prefill_chunk,
            spinning=spinning,
            threads=options.threads,
        )
        return options, settings, words
    words = _(
        "tuned: threads {threads}, chunks of {chunk}, spinning {spinning}",
        threads=found.threads,
        chunk=found.prefill_chunk,
        spinning=spinning,
    )
    return dataclasses.replace(options, threads=found.threads), settings, words


def to_dict(settings: TunedSettings) -> dict[str, Any]:
    """Plain data, and whether it counts here."""
    return {**dataclasses.asdict(settings), "applies": settings.is_for_this_machine}


def _refuse(name: str, value: object) -> NoReturn:
    _fail(_("{name} is {found}", name=name, found=repr(value)[:_MAX_NAME]))


def _fail(reason: str) -> NoReturn:
    raise BundleError(
        "The bundle's tuned settings are not usable: {reason}.",
        hint="Measure again: glmlite tune BUNDLE",
        reason=reason,
    )
