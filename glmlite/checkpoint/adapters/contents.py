"""Sorting the tensors of a file: LoRA factors, a prefix encoder, whole parameters, the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from glmlite.checkpoint.adapters.lora import LoraName, base_name, parse_lora_name
from glmlite.checkpoint.prefix import find_prefix, is_prefix_name
from glmlite.checkpoint.source import Shape
from glmlite.model.parameters import is_ignored


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        lora: LoRA factors by tensor name.
        prefix: tensors of a prefix encoder.
        whole: model parameters by their Hugging Face name, with the name they have in the file.
        unknown: everything else.
    """

    lora: Mapping[str, LoraName]
    prefix: tuple[str, ...]
    whole: Mapping[str, str]
    unknown: tuple[str, ...]

    @property
    def is_adapter(self) -> bool:
        """Whether there is anything that only adapters have."""
        return bool(self.lora or self.prefix)

    @property
    def kinds(self) -> tuple[str, ...]:
        """For the manifest: of peft, mindpet, prefix, parameters."""
        found = {lora.kind: None for lora in self.lora.values()}
        parts = (("prefix", self.prefix), ("parameters", self.whole))
        return (*found, *(kind for kind, names in parts if names))


def read_contents(shapes: Mapping[str, Shape], targets: Mapping[str, Shape]) -> Contents:
    """Sort tensors by their names.

    Args:
        shapes: of the file.
        targets: the model's parameters.

    Raises:
        CheckpointError: a prefix encoder is incomplete or there twice.
    """
    lora: dict[str, LoraName] = {}
    prefix, unknown = [], []
    whole: dict[str, str] = {}
    for name in shapes:
        found = parse_lora_name(name)
        if found:
            lora[name] = found
        elif is_prefix_name(name):
            prefix.append(name)
        elif base_name(name) in targets and base_name(name) not in whole:
            whole[base_name(name)] = name
        elif not is_ignored(name):
            unknown.append(name)
    find_prefix(prefix)
    return Contents(lora, tuple(prefix), whole, tuple(unknown))
