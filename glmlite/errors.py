"""Errors that a user can act on. The command line prints them without a traceback, exit code 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from glmlite.i18n import _

_ErrorT = TypeVar("_ErrorT", bound="GlmliteError")


class GlmliteError(Exception):
    """What is wrong, what was found, and what to do next.

    Args:
        message: a literal English sentence with `{placeholders}`; translated when shown.
        hint: a second literal sentence that names the next step or command.
        **params: values of the placeholders in `message` and `hint`.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "", **params: object) -> None:
        self.message = message
        self.hint = hint
        self.params = params
        super().__init__(message)

    def __str__(self) -> str:
        text = _(self.message, **self.params)
        return f"{text}\n{_(self.hint, **self.params)}" if self.hint else text

    @classmethod
    def from_dict(cls: type[_ErrorT], data: Mapping[str, Any]) -> _ErrorT:
        """An error that the toolchain reported (`ToolchainError.to_dict`)."""
        return cls(data["message"], hint=data["hint"], **data["params"])


class ConfigError(GlmliteError):
    """A recipe, an option or a model configuration does not say what it must."""


class CheckpointError(GlmliteError):
    """A checkpoint is missing, damaged or of another shape than its configuration."""


class BundleError(GlmliteError):
    """A bundle is missing, damaged, unsafe or of an unknown schema."""


class TokenizerError(GlmliteError):
    """A tokenizer is missing or does not fit the model, or messages cannot be rendered."""


class ExportError(GlmliteError):
    """An export did not finish; nothing was left behind."""


class NoConverterError(ExportError):
    """No converter of MindSpore Lite was named, and none is here."""


class ParityError(ExportError):
    """An exported graph computes something else than the reference."""


class AccuracyError(ExportError):
    """A quantized model lost more than it was allowed to."""


class EngineError(GlmliteError):
    """An engine is missing, cannot load the bundle, or failed in a step."""


class WorkerDiedError(EngineError):
    """The toolchain's process ended; the message carries the end of its log."""


class CacheFullError(GlmliteError):
    """A session holds as many tokens as its cache has slots."""
