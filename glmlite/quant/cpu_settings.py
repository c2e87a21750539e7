"""What `--set` may say where a checkpoint is quantized for CPUs: what is settled is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from glmlite.errors import ConfigError
from glmlite.i18n import _


@dataclasses.dataclass(frozen=True)
class _Settled:
    """A key of export recipes that has no say here.

    Attributes:
        accepted: values that agree with what is done anyway.
        reason: what is done, translated.
    """

    accepted: tuple[object, ...]
    reason: str


def check_settings(told: Mapping[str, Any]) -> None:
    """Refuse settings that would do nothing.

    An export recipe (`--config`) may say the same: it was written for exports.

    Args:
        told: nested as in a recipe; checked for unknown keys.

    Raises:
        ConfigError: names the first.
    """
    for (section, key), settled in _all_settled().items():
        value = (told.get(section) or {}).get(key)
        if value is not None and value not in settled.accepted:
            raise ConfigError(
                "--set {key} is {found} and would do nothing: {reason}.",
                hint="Leave --set {key} out.",
                key=f"{section}.{key}",
                found=str(value)[:80],
                reason=settled.reason,
            )


def _all_settled() -> dict[tuple[str, str], _Settled]:
    return {
        ("model", "checkpoint"): _Settled((), _("the checkpoint is what the command line names")),
        ("model", "dtype"): _Settled(
            ("float32",), _("the recipe says how weights are stored, and the rest is float32")
        ),
        ("export", "output"): _Settled((), _("--output names the new bundle")),
        ("export", "format"): _Settled(("onnx",), _("recipes for CPUs make ONNX graphs")),
        ("export", "flavor"): _Settled(
            ("ort",), _("recipes for CPUs make graphs with operators of ONNX Runtime (flavor ort)")
        ),
        # YAML reads a bare `off` as false.
        ("export", "parity"): _Settled(
            ("full", "off", False), _("all layers are compared (full), or none (off)")
        ),
    }
