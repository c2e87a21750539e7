"""What an export will do, settled before anything is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from glmlite.checkpoint import open_checkpoint
from glmlite.checkpoint.adapters import AdaptedCheckpoint, adapt
from glmlite.checkpoint.prefix import Prefix
from glmlite.errors import ConfigError
from glmlite.exporter.config import Dtype, ExportConfig, ExportSection, Flavor, Format
from glmlite.exporter.resolve import resolve_model
from glmlite.model.config import Family, ModelConfig
from glmlite.text import Tokenizer, check_tokenizer

_SCORE_TOKENS = 16


@dataclasses.dataclass(frozen=True)
class ExportPlan:
    """A checked export.

    Attributes:
        model: the network. family: of its prompts.
        checkpoint: the open checkpoint with its adapters. tokenizer: or None.
        prefix: P-Tuning keys and values per layer, or None.
        dtype: of weights, cache and matrix products.
        graphs: phase, tokens, cache_length and batch_size of each graph.
        format: of the graphs. flavor: of ONNX graphs, else None.
        chunks: phase -> the T that the proof feeds to graphs of any T.
        parity_layers: layers to compare with the reference; 0 for none.
    """

    model: ModelConfig
    family: Family
    checkpoint: AdaptedCheckpoint
    tokenizer: Tokenizer | None
    prefix: Prefix | None
    dtype: Dtype
    graphs: tuple[dict[str, Any], ...]
    parity_layers: int
    format: Format = "mindir"
    flavor: Flavor | None = None
    chunks: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)

    @property
    def prefix_length(self) -> int:
        """P."""
        return int(self.prefix[0][0].shape[1]) if self.prefix else 0

    def first_layers(self, count: int) -> ExportPlan:
        """The same export of the first `count` layers only."""
        return dataclasses.replace(
            self,
            model=dataclasses.replace(self.model, num_layers=count),
            prefix=self.prefix[:count] if self.prefix else None,
            parity_layers=count,
        )


def make_plan(config: ExportConfig) -> ExportPlan:
    """Open and check everything that an export reads.

    Raises:
        GlmliteError: of the kind that fits: the recipe, the checkpoint or the tokenizer.
    """
    section, export = config.model, config.export
    checkpoint = open_checkpoint(section.checkpoint)
    resolved = resolve_model(section, checkpoint.raw_config)
    model = resolved.config
    adapted = adapt(checkpoint, model, section.adapters)
    prefix = adapted.prefix
    path = section.tokenizer or checkpoint.tokenizer_path
    tokenizer = Tokenizer(path, resolved.family) if path else None
    if tokenizer:
        check_tokenizer(tokenizer, model.vocab_size)
    length = int(prefix[0][0].shape[1]) if prefix else 0
    _check_prefix_fits(length, export)
    parity = export.parity
    layers = {"off": 0, "full": model.num_layers}.get(parity.mode, parity.layers or 0)
    return ExportPlan(
        model=model,
        family=resolved.family,
        checkpoint=adapted,
        tokenizer=tokenizer,
        prefix=prefix,
        dtype=section.dtype,
        graphs=plan_graphs(export),
        parity_layers=min(layers, model.num_layers),
        format=export.format,
        flavor=export.flavor,
        chunks=plan_chunks(export),
    )


def _check_prefix_fits(prefix_length: int, export: ExportSection) -> None:
    shortest = min(export.cache_length)
    longest_chunk = max(*export.prefill_tokens, export.score_tokens or 1)
    if prefix_length + longest_chunk > shortest:
        raise ConfigError(
            "The prefix takes {prefix} cache slots; with chunks of {tokens} tokens they do not fit "
            "export.cache_length {length}.",
            hint="Raise export.cache_length to {needed} or more.",
            prefix=prefix_length,
            tokens=longest_chunk,
            length=shortest,
            needed=prefix_length + longest_chunk,
        )


def plan_graphs(export: ExportSection) -> tuple[dict[str, Any], ...]:
    """Every graph of a bundle: for each cache length the prefill sizes, decode, and score.

    ONNX graphs are dynamic, so there is one for each phase, with any T (0) and S up to the largest.
    """
    if export.format == "onnx":
        return tuple(
            {
                "phase": phase,
                "tokens": tokens,
                "cache_length": max(export.cache_length),
                "batch_size": export.batch_size,
            }
            for phase, tokens in (("prefill", 0), ("decode", 1), ("score", 0))
        )
    phases = [("prefill", tokens) for tokens in export.prefill_tokens if tokens > 1]
    phases.append(("decode", 1))
    if export.score_tokens:
        phases.append(("score", export.score_tokens))
    return tuple(
        {
            "phase": phase,
            "tokens": tokens,
            "cache_length": length,
            "batch_size": export.batch_size,
        }
        for length in export.cache_length
        for phase, tokens in phases
    )


def plan_chunks(export: ExportSection) -> dict[str, tuple[int, ...]]:
    """Phase -> T of the chunks that prove a dynamic graph."""
    score = export.score_tokens or min(_SCORE_TOKENS, *export.cache_length)
    return {"prefill": export.prefill_tokens, "score": (score,)}
