"""From a list of MindIR graphs to an engine, in this process or in another interpreter."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glmlite.bundle.manifest import GraphEntry
from glmlite.model.config import ModelConfig
from glmlite.runtime.engines.base import EngineSpec
from glmlite.runtime.engines.lite_config.build import lite_choices
from glmlite.runtime.engines.lite_config.variables import check_shared_names, variable_options
from glmlite.runtime.engines.mindir import LocalGraphs, MindIREngine, RemoteGraphs
from glmlite.runtime.engines.options import EngineOptions


@dataclasses.dataclass(frozen=True)
class GraphSet:
    """MindIR graphs of one model, in one folder.

    Attributes:
        folder: where the files lie. graphs: the ones to open; all of one batch size.
        model: the model's sizes. dtype: of weights and cache, as exported.
        prefix_length: P. prefix_cache: its file in the folder, or None.
        producer: version of the MindSpore that wrote the graphs.
        quantized: weights are integers, so activations may be rounded on their way to them.
    """

    folder: Path
    graphs: Sequence[GraphEntry]
    model: ModelConfig
    dtype: str
    prefix_length: int
    prefix_cache: str | None
    producer: str
    quantized: bool = False

    def spec(self, engine: str) -> EngineSpec:
        """What an engine of these graphs can run."""
        chunks = {g.tokens for g in self.graphs if g.phase != "score"}
        scores = {g.tokens for g in self.graphs if g.phase == "score"}
        spec = EngineSpec(
            name=engine,
            vocab_size=self.model.vocab_size,
            batch_size=self.graphs[0].batch_size,
            chunk_sizes=tuple(sorted(chunks)),
            score_sizes=tuple(sorted(scores)),
            capacity=max(g.cache_length for g in self.graphs) - self.prefix_length,
        )
        return dataclasses.replace(spec, score_tolerance=0.0) if self.quantized else spec

    def job(self, engine: str, options: EngineOptions) -> dict[str, Any]:
        """The same as plain data, for `glmlite.toolchain.engine.open_engine`."""
        return {
            "engine": engine,
            "graphs": [
                {
                    "phase": g.phase,
                    "tokens": g.tokens,
                    "cache_length": g.cache_length,
                    "batch_size": g.batch_size,
                    "path": str(self.folder / g.file),
                    "dtype": self.dtype,
                    "producer": self.producer,
                }
                for g in self.graphs
            ],
            "num_layers": self.model.num_layers,
            "num_groups": self.model.num_groups,
            "head_dim": self.model.head_dim,
            "vocab_size": self.model.vocab_size,
            "prefix_length": self.prefix_length,
            "prefix_path": str(self.folder / self.prefix_cache) if self.prefix_cache else None,
            "options": {**options.to_dict(), "choices": self.choices(engine, options)},
        }

    def choices(self, engine: str, options: EngineOptions) -> list[dict[str, Any]]:
        """What Lite may build these graphs with; nothing for another engine."""
        if engine != "lite":
            return []
        phases = {str(self.folder / g.file): g.phase for g in self.graphs}
        return lite_choices(options.engine_config, options.device, phases, self.variables)

    def variables(self) -> dict[str, dict[str, str]]:
        """Where Lite finds each graph's cache, for cache=variables; by the graph's path.

        Raises:
            EngineError: the cache of these graphs cannot live in variables.
        """
        check_shared_names(self.folder, self.graphs)
        return {
            str(self.folder / g.file): variable_options(g, self.dtype, self.prefix_length)
            for g in self.graphs
        }

    def open(self, engine: str, options: EngineOptions, python: str | None) -> MindIREngine:
        """Open the graphs.

        Args:
            engine: "lite" or "mindspore".
            options: how it runs.
            python: the interpreter of a worker process; None opens them in this process.

        Raises:
            EngineError: the backend is missing or refuses a graph.
        """
        job = self.job(engine, options)
        graphs = LocalGraphs(job) if python is None else RemoteGraphs(job, python)
        return MindIREngine(graphs, self.spec(engine))
