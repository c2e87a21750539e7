"""`adapter_config.json` of PEFT: what each pair of factors is scaled by.

Source: `LoraConfig` and `get_pattern_key` of https://github.com/huggingface/peft. What changes the
meaning of the tensors in a way that is not written here is refused.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from glmlite.errors import ConfigError
from glmlite.finite import is_finite
from glmlite.i18n import _

FILE = "adapter_config.json"

# Options under which the tensors mean something else, or more than A and B.
_REFUSED = (
    "use_dora",
    "use_qalora",
    "lora_bias",
    "fan_in_fan_out",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "arrow_config",
    "use_bdlora",
)
# Ways to start training that leave the base model as it is; PiSSA, OLoRA and others change it.
_HARMLESS_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
_MAX_PATTERN = 256
_MAX_QUANTIFIERS = 3


@dataclasses.dataclass(frozen=True)
class PeftConfig:
    """A LoRA's rank and alpha, and where they differ.

    Attributes:
        rank: r. alpha: lora_alpha.
        rank_stabilized: scale is alpha / √r (rsLoRA, Kalajdzievski 2023).
        ranks, alphas: by pattern of the module's name; the first that matches counts.
        modules_to_save: modules whose whole weights were trained.
    """

    rank: int
    alpha: float
    rank_stabilized: bool = False
    ranks: Mapping[str, int] = dataclasses.field(default_factory=dict)
    alphas: Mapping[str, float] = dataclasses.field(default_factory=dict)
    modules_to_save: tuple[str, ...] = ()

    def rank_of(self, module: str) -> int:
        """The rank that the configuration gives to a module."""
        return self.ranks.get(_matching(self.ranks, module), self.rank)

    def alpha_of(self, module: str) -> float:
        """The alpha of a module."""
        return self.alphas.get(_matching(self.alphas, module), self.alpha)

    def scale(self, alpha: float, rank: int) -> float:
        """`alpha / r`, or `alpha / √r`."""
        return alpha / (math.sqrt(rank) if self.rank_stabilized else rank)


def parse_peft_config(raw: Mapping[str, Any]) -> PeftConfig:
    """Check an adapter_config.json.

    Raises:
        ConfigError: it is no LoRA, or one of a kind that glmlite would get wrong.
    """
    kind = raw.get("peft_type")
    if kind != "LORA":
        raise ConfigError(
            "{file}: peft_type is {found}; glmlite merges LORA only.",
            hint="Merge the adapter with PEFT itself (merge_and_unload) and export the result.",
            file=FILE,
            found=ascii(kind)[:80],
        )
    for key in _REFUSED:
        if raw.get(key):
            raise _refused(key, raw[key])
    start = raw.get("init_lora_weights", True)
    if not any(start is known or start == known for known in _HARMLESS_STARTS):
        raise _refused("init_lora_weights", start)
    rank = raw.get("r")
    if type(rank) is not int or rank < 1:
        raise _wrong("r", rank, _("a whole number above 0"))
    saved = raw.get("modules_to_save") or []
    if not isinstance(saved, list) or not all(isinstance(name, str) for name in saved):
        raise _wrong("modules_to_save", saved, _("a list of names"))
    return PeftConfig(
        rank,
        _alpha("lora_alpha", raw.get("lora_alpha")),
        bool(raw.get("use_rslora")),
        {k: _whole(k, v) for k, v in _patterns(raw, "rank_pattern").items()},
        {k: _alpha(k, v) for k, v in _patterns(raw, "alpha_pattern").items()},
        tuple(saved),
    )


def _patterns(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Patterns of module names; those that could keep the matcher busy for hours are refused."""
    patterns = raw.get(key) or {}
    if not isinstance(patterns, dict):
        raise _wrong(key, patterns, _("an object of patterns"))
    for pattern in patterns:
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise _wrong(key, pattern, _("a regular expression")) from error
        quantifiers = len(re.findall(r"[*+{]", pattern))
        if (
            len(pattern) > _MAX_PATTERN
            or quantifiers > _MAX_QUANTIFIERS
            or re.search(r"\)[*+{]", pattern)
        ):
            raise _wrong(key, pattern, _("a simple pattern of module names"))
    return patterns


def _matching(patterns: Mapping[str, object], module: str) -> str:
    for pattern in patterns:
        if re.match(rf"(.*\.)?({pattern})$", module):
            return pattern
    return module


def _whole(key: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise _wrong(key, value, _("a whole number above 0"))
    return value


def _alpha(key: str, value: Any) -> float:
    if type(value) not in (int, float) or not is_finite(value) or value == 0:
        raise _wrong(key, value, _("a number other than 0"))
    return float(value)


def _wrong(key: str, value: object, expected: str) -> ConfigError:
    return ConfigError(
        "{file}: {key} is {found}; it must be {expected}.",
        file=FILE,
        key=key,
        found=ascii(value)[:80],
        expected=expected,
    )


def _refused(key: str, value: object) -> ConfigError:
    return ConfigError(
        "{file}: {key} is {found}; merged as a plain LoRA, this adapter would come out wrong.",
        hint="Merge it with PEFT itself (merge_and_unload) and export the result.",
        file=FILE,
        key=key,
        found=ascii(value)[:80],
    )
