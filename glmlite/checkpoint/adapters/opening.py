"""Opening what `model.adapter` names: a PEFT folder, or weights in any format glmlite reads."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Protocol

from glmlite.checkpoint.adapters.peft_config import FILE, PeftConfig, parse_peft_config
from glmlite.checkpoint.checkpoint import Checkpoint
from glmlite.checkpoint.files import inside, read_json
from glmlite.checkpoint.folder import open_checkpoint
from glmlite.errors import CheckpointError

_PEFT_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


class AdapterEntry(Protocol):
    """One entry of `model.adapter`."""

    @property
    def path(self) -> Path:
        """Folder or file."""

    @property
    def weight(self) -> float:
        """How strongly it counts; 1 is as trained."""

    @property
    def alpha(self) -> float | None:
        """In place of the alpha it was trained with, which MindFormers' files do not tell."""


@dataclasses.dataclass(frozen=True)
class OpenAdapter:
    """An adapter whose headers were read.

    Attributes:
        source: its tensors.
        label: how messages call it.
        weight, alpha: of its entry.
        peft: its adapter_config.json, or None.
    """

    source: Checkpoint
    label: str
    weight: float = 1.0
    alpha: float | None = None
    peft: PeftConfig | None = None

    def fingerprint(self) -> dict[str, Any]:
        """Its identity for a manifest."""
        return self.source.fingerprint()


def open_adapter(entry: AdapterEntry) -> OpenAdapter:
    """Open the weights of one entry, and adapter_config.json where there is one.

    Raises:
        CheckpointError: nothing readable is there.
        ConfigError: adapter_config.json asks for what glmlite cannot merge.
    """
    path = Path(entry.path).expanduser()
    if not path.exists():
        raise CheckpointError(
            "There is no adapter at {path}.",
            hint="Name the folder of a PEFT adapter, or a file with its weights: --adapter PATH",
            path=ascii(str(path)) if "\0" in str(path) else path,
        )
    folder = path.resolve() if path.is_dir() else path.parent.resolve()
    config = inside(folder, FILE) if folder.is_dir() else None
    weights = path
    if config and path.is_dir():
        found = [name for name in _PEFT_WEIGHTS if inside(folder, name)]
        if not found:
            raise CheckpointError(
                "{folder} has {config}, but neither {first} nor {second}.",
                hint="Fetch the adapter's weights as well.",
                folder=folder.name,
                config=FILE,
                first=_PEFT_WEIGHTS[0],
                second=_PEFT_WEIGHTS[1],
            )
        weights = folder / found[0]
    source = open_checkpoint(weights)
    peft = parse_peft_config(read_json(config)) if config else None
    return OpenAdapter(source, path.name or str(path), entry.weight, entry.alpha, peft)
