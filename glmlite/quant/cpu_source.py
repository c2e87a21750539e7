"""What is quantized for CPUs: a float bundle, or a checkpoint as export reads it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glmlite.bundle import Bundle
from glmlite.bundle.bundle import MANIFEST
from glmlite.bundle.manifest import TokenizerEntry
from glmlite.checkpoint import WeightSource
from glmlite.checkpoint.prefix import Prefix
from glmlite.errors import ConfigError
from glmlite.exporter.config import load_config
from glmlite.exporter.keys import merge_overrides, parse_overrides
from glmlite.exporter.pipeline import TOKENIZER
from glmlite.exporter.plan import make_plan
from glmlite.i18n import _
from glmlite.model.config import Family, ModelConfig
from glmlite.quant.cpu_settings import check_settings
from glmlite.quant.overflow import CheckedWeights
from glmlite.text import Tokenizer


@dataclasses.dataclass(frozen=True)
class CpuSource:
    """A float model, and what its bundle is to be.

    Attributes:
        model: sizes. family: of its prompts.
        weights: the float weights, checked as they are read.
        tokenizer: or None.
        tokenizer_entry: for the new manifest; its file lies at `tokenizer.vocabulary.path`.
        prefix: P-Tuning keys and values per layer, or None.
        cache_length: S. batch_size: B.
        chunks: prefill sizes that are compared with the reference.
        bytes: that it takes on disk.
        checkpoint: fingerprint, for the manifest.
        producer: what the manifest says of the source.
        notes: what the user should know.
        path: where it lies, or None.
        parity: whether the export recipe wants graphs to be compared with the reference.
    """

    model: ModelConfig
    family: Family
    weights: WeightSource
    tokenizer: Tokenizer | None
    tokenizer_entry: TokenizerEntry | None
    prefix: Prefix | None
    cache_length: int
    batch_size: int
    chunks: tuple[int, ...]
    bytes: int
    checkpoint: dict[str, Any]
    producer: Mapping[str, str]
    notes: tuple[str, ...] = ()
    path: Path | None = None
    parity: bool = True

    @property
    def prefix_length(self) -> int:
        """P."""
        return int(self.prefix[0][0].shape[1]) if self.prefix else 0


def open_source(
    path: Path, config: str | Path | None = None, settings: Sequence[str] = ()
) -> CpuSource:
    """Open a bundle or a checkpoint.

    Args:
        path: a bundle's folder, or a checkpoint's folder or file.
        config: an export recipe, for a checkpoint.
        settings: `["export.cache_length=4096", …]`, for a checkpoint.

    Raises:
        GlmliteError: of the kind that fits.
    """
    if (path / MANIFEST).exists():
        if config is not None or settings:
            raise ConfigError(
                "{path} is a bundle; --config and --set are for checkpoints.",
                hint="Leave them out, or name the checkpoint that the bundle was made from.",
                path=str(path),
            )
        return _from_bundle(Bundle.open(path))
    return _from_checkpoint(path, config, settings)


def _from_bundle(bundle: Bundle) -> CpuSource:
    manifest = bundle.manifest
    if manifest.weights.quantization != "none":
        raise ConfigError(
            "{path} is quantized already ({scheme}).",
            hint="Quantize the bundle that it was made from.",
            path=str(bundle.path),
            scheme=manifest.weights.quantization,
        )
    path = bundle.tokenizer_path
    chunks = {g.tokens for g in manifest.graphs if g.phase == "prefill" and g.tokens > 1}
    return CpuSource(
        model=manifest.model,
        family=manifest.family,
        weights=CheckedWeights(bundle.weights()),
        tokenizer=Tokenizer(path, manifest.family) if path else None,
        tokenizer_entry=manifest.tokenizer,
        prefix=bundle.prefix_cache(),
        cache_length=max(g.cache_length for g in manifest.graphs),
        batch_size=manifest.graphs[0].batch_size,
        chunks=tuple(sorted(chunks)) or (32,),
        bytes=sum(entry.size for entry in manifest.files.values()),
        checkpoint=manifest.checkpoint,
        producer=manifest.producer,
        notes=_flavor_notes(*(graph.flavor for graph in manifest.graphs)),
        path=bundle.path,
    )


def _from_checkpoint(path: Path, config: str | Path | None, settings: Sequence[str]) -> CpuSource:
    overrides: dict[str, Any] = parse_overrides(settings)
    check_settings(merge_overrides({}, overrides))
    # Where it goes and in which format is not the export recipe's business here.
    overrides |= {"export.output": "-", "model.checkpoint": path, "export.format": "onnx"}
    loaded = load_config({} if config is None else config, overrides)
    plan = make_plan(loaded)
    entry = None
    if plan.tokenizer is not None:
        entry = TokenizerEntry(TOKENIZER, plan.tokenizer.special_ids)
    fingerprint = plan.checkpoint.fingerprint()
    return CpuSource(
        model=plan.model,
        family=plan.family,
        weights=CheckedWeights(plan.checkpoint),
        tokenizer=plan.tokenizer,
        tokenizer_entry=entry,
        prefix=plan.prefix,
        cache_length=plan.graphs[0]["cache_length"],
        batch_size=plan.graphs[0]["batch_size"],
        chunks=tuple(plan.chunks["prefill"]),
        bytes=int(fingerprint.get("bytes", 0)),
        checkpoint=fingerprint,
        producer={},
        notes=(*loaded.remarks, *plan.checkpoint.notes(), *_flavor_notes(plan.flavor)),
        path=path,
        parity=plan.parity_layers > 0,
    )


def _flavor_notes(*flavors: str | None) -> tuple[str, ...]:
    if "standard" not in flavors:
        return ()
    return (
        _(
            "Quantized graphs need operators of ONNX Runtime: the new bundle's flavor is ort, not "
            "standard."
        ),
    )
