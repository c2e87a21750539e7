"""Checkpoints that adapters are put on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from glmlite.checkpoint import open_checkpoint
from glmlite.checkpoint.adapters import AdaptedCheckpoint, adapt
from glmlite.exporter.config import Adapter
from glmlite.model.config import ModelConfig, from_huggingface
from tests.fixtures.models import TinyModel


@dataclasses.dataclass
class Base:
    """A checkpoint on disk."""

    model: TinyModel
    folder: Path

    @property
    def config(self) -> ModelConfig:
        return from_huggingface(json.loads((self.folder / "config.json").read_text()))

    def adapt(self, *adapters: Any) -> AdaptedCheckpoint:
        entries = [a if isinstance(a, Adapter) else Adapter(Path(a)) for a in adapters]
        return adapt(open_checkpoint(self.folder), self.config, entries)
