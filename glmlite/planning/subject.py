"""What is planned: a recipe's model and graphs, without its checkpoint, or a bundle's."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

from glmlite.bundle import Bundle
from glmlite.bundle.contents import read_index
from glmlite.errors import CheckpointError, ConfigError
from glmlite.exporter.config import ExportConfig
from glmlite.exporter.plan import plan_graphs
from glmlite.exporter.resolve import resolve_model
from glmlite.model.config import ModelConfig
from glmlite.planning.devices import Kind
from glmlite.planning.storage import Layout, WeightKind, layout, layout_of_index

Format = Literal["mindir", "onnx"]
_MAX_CONFIG = 1 << 20


@dataclasses.dataclass(frozen=True)
class Graph:
    """A graph's phase and sizes; T = 0 is any (ONNX)."""

    phase: str
    tokens: int
    cache_length: int
    batch_size: int


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model as it is, or will be, exported.

    Attributes:
        name: of the recipe, or the bundle's folder.
        model: the network.
        weights: their kind; for a bundle the nearest one.
        format: of the graphs.
        graphs: all of them.
        stored: the weights file of a bundle; None for a recipe, whose layout follows `weights`.
        files: bytes of a bundle's files; None for a recipe.
    """

    name: str
    model: ModelConfig
    weights: WeightKind
    format: Format
    graphs: tuple[Graph, ...]
    stored: Layout | None = None
    files: int | None = None

    @property
    def batch_size(self) -> int:
        """B."""
        return self.graphs[0].batch_size

    @property
    def cache_length(self) -> int:
        """The longest S."""
        return max(graph.cache_length for graph in self.graphs)

    @property
    def chunk(self) -> int:
        """The longest T of a prefill graph; 256 where any will do."""
        sizes = [g.tokens for g in self.graphs if g.phase == "prefill"]
        return max(sizes, default=1) or 256

    def layout(self, device: Kind) -> Layout:
        """The weights file, as it is or as it would be for a device."""
        return self.stored or layout(self.model, self.weights, device)

    def with_weights(self, weights: WeightKind) -> Subject:
        """The same export with other weights."""
        return dataclasses.replace(self, weights=weights, stored=None, files=None)

    def with_sizes(self, batch_size: int, cache_length: int) -> Subject:
        """The same export with another B, and another longest S."""
        longest = self.cache_length
        graphs = tuple(
            dataclasses.replace(
                g,
                batch_size=batch_size,
                cache_length=cache_length
                if g.cache_length == longest
                else min(g.cache_length, cache_length),
            )
            for g in self.graphs
        )
        return dataclasses.replace(self, graphs=graphs, files=None)


def from_config(config: ExportConfig, name: str) -> Subject:
    """What a recipe would export; of its checkpoint only a config.json is read, if it is there.

    Raises:
        ConfigError: neither a config.json nor the recipe tells the model's sizes.
    """
    section, export = config.model, config.export
    raw = _raw_config(Path(section.checkpoint))
    if raw is None and section.preset is None and section.sizes is None:
        raise ConfigError(
            "{path} has no config.json, and the recipe names no preset: the model's sizes are "
            "unknown.",
            hint="Name a published model's: --set model.preset=glm2_6b",
            path=str(section.checkpoint),
        )
    model = resolve_model(section, raw).config
    graphs = tuple(Graph(**graph) for graph in plan_graphs(export))
    if export.format == "onnx":
        graphs = tuple(
            Graph(phase, tokens, max(export.cache_length), export.batch_size)
            for phase, tokens in (("prefill", 0), ("decode", 1))
        )
    return Subject(name, model, section.dtype, export.format, graphs)


def _raw_config(checkpoint: Path) -> dict[str, Any] | None:
    path = (checkpoint if checkpoint.is_dir() else checkpoint.parent) / "config.json"
    try:
        if not path.is_file() or path.stat().st_size > _MAX_CONFIG:
            return None
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            "{path} cannot be read: {error}", path=str(path), error=str(error)
        ) from error
    return data if isinstance(data, dict) else None


def from_bundle(path: Path) -> Subject:
    """What a bundle holds, its weights counted tensor by tensor.

    Raises:
        BundleError: it is no bundle, or not whole.
    """
    bundle = Bundle.open(path)
    manifest = bundle.manifest
    stored = layout_of_index(manifest.model, read_index(bundle.path / manifest.weights.index))
    graphs = tuple(Graph(g.phase, g.tokens, g.cache_length, g.batch_size) for g in manifest.graphs)
    return Subject(
        path.name or str(path),
        manifest.model,
        stored.name,
        "onnx" if manifest.graphs[0].format == "onnx" else "mindir",
        graphs,
        stored,
        sum(entry.size for entry in manifest.files.values()),
    )
