"""A model's sizes from elsewhere, where the checkpoint has no config.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from glmlite.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class StandIn:
    """Stands in for config.json, and must not contradict one.

    Attributes:
        config: the keys of a config.json.
        said: those of them that the user's file sets; the others are defaults.
        source: the file, for messages.
    """

    config: Mapping[str, Any]
    said: frozenset[str]
    source: str

    def beside(self, raw_config: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """The configuration to go by: config.json where there is one.

        Raises:
            ConfigError: it says something else.
        """
        if raw_config is None:
            return self.config
        for key in sorted(self.said & set(raw_config)):
            told, found = self.config[key], raw_config[key]
            if told != found:
                raise ConfigError(
                    "{file}: model.model_config.{key} is {told}, but config.json beside the "
                    "checkpoint says {found}.",
                    hint="Name the checkpoint that belongs to this file, or correct the value.",
                    file=self.source,
                    key=key,
                    told=repr(told),
                    found=repr(found)[:80],
                )
        return raw_config
