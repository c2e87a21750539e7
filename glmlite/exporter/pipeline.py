"""The export: checkpoint in, proven bundle out, nothing in between left behind."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import glmlite
from glmlite.bundle.manifest import (
    FileEntry,
    GraphEntry,
    Manifest,
    ParityEntry,
    TokenizerEntry,
    WeightsEntry,
)
from glmlite.bundle.store import check_output, describe_files, publish, staging
from glmlite.disk import check_space
from glmlite.errors import ExportError
from glmlite.exporter.backends import Backend, choose_backend
from glmlite.exporter.config import ExportConfig, load_config
from glmlite.exporter.plan import ExportPlan, make_plan
from glmlite.exporter.proof import prove
from glmlite.exporter.weights import (
    DATA,
    INDEX,
    PREFIX_CACHE,
    WEIGHTS,
    weights_bytes,
    write_prefix,
    write_weights,
)
from glmlite.i18n import _
from glmlite.progress import NoProgress, Progress

TOKENIZER = "tokenizer.model"


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What an export made: the bundle's folder, its manifest, and the seconds it took."""

    path: Path
    manifest: Manifest
    seconds: float


def run_export(
    config: ExportConfig | str | os.PathLike[str] | Mapping[str, Any],
    *,
    toolchain: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    overrides: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Export a checkpoint as a bundle.

    Args:
        config: a recipe: its file, its name, its contents, or an `ExportConfig`.
        toolchain: interpreter that has MindSpore, for MindIR; None: `GLMLITE_TOOLCHAIN`, else
            this one.
        progress: told of every stage.
        overrides: dotted key -> value, e.g. {"export.cache_length": 512}.
        overwrite: replace a bundle that is at `export.output` already.

    Raises:
        GlmliteError: of the kind that fits; nothing is left at the output or beside it.
    """
    started = time.monotonic()
    progress = progress or NoProgress()
    if not isinstance(config, ExportConfig):
        recipe = Path(config) if isinstance(config, os.PathLike) else config
        config = load_config(recipe, overrides or {})
    output = Path(config.export.output).expanduser().absolute()
    check_output(output, overwrite)
    progress.stage(_("Reading the checkpoint"))
    plan = make_plan(config)
    for note in plan.checkpoint.notes():
        progress.stage(note)
    backend = choose_backend(config.export, toolchain)
    try:
        with staging(output, overwrite) as folder:
            _check_space(folder, plan, backend)
            manifest = _fill(folder, plan, backend, progress)
            publish(folder, manifest.to_json(), output)
    except OSError as error:
        raise ExportError(
            "The bundle could not be written to {path}: {error}. Nothing was kept.",
            hint="Free some space or name another --output.",
            path=str(output),
            error=error.strerror or str(error),
        ) from error
    finally:
        progress.done()
    return ExportReport(output, manifest, time.monotonic() - started)


def _check_space(folder: Path, plan: ExportPlan, backend: Backend) -> None:
    """The weights are written once, and those of some layers again where the proof needs that."""
    needed = weights_bytes(plan.model, plan.dtype)
    if 0 < plan.parity_layers < plan.model.num_layers and not backend.maps_weights:
        needed += weights_bytes(plan.first_layers(plan.parity_layers).model, plan.dtype)
    check_space(folder, needed, _("The export"))


def _fill(folder: Path, plan: ExportPlan, backend: Backend, progress: Progress) -> Manifest:
    """Put everything but the manifest into the staging folder, prove it, and describe it."""
    size = weights_bytes(plan.model, plan.dtype)
    progress.stage(_("Writing the weights"), size, "B")
    data = write_weights(plan.checkpoint, plan.model, plan.dtype, folder / WEIGHTS, progress)
    tokenizer = _add_tokenizer(folder, plan)
    write_prefix(plan.prefix, folder)
    graphs = backend.export(folder, plan, progress)
    parity = prove(folder, plan, graphs, backend, progress)
    files = describe_files(folder, progress, {f"{WEIGHTS}/{DATA}": data})
    return describe(plan, graphs, parity, tokenizer, files, backend)


def _add_tokenizer(folder: Path, plan: ExportPlan) -> TokenizerEntry | None:
    if plan.tokenizer is None:
        return None
    shutil.copyfile(plan.tokenizer.vocabulary.path, folder / TOKENIZER)
    return TokenizerEntry(TOKENIZER, plan.tokenizer.special_ids)


def describe(
    plan: ExportPlan,
    graphs: tuple[GraphEntry, ...],
    parity: tuple[ParityEntry, ...],
    tokenizer: TokenizerEntry | None,
    files: dict[str, FileEntry],
    backend: Backend,
) -> Manifest:
    """The manifest of a staged bundle."""
    return Manifest(
        model=plan.model,
        family=plan.family,
        tokenizer=tokenizer,
        graphs=graphs,
        weights=WeightsEntry(
            dtype=plan.dtype,
            quantization="none",
            bytes=weights_bytes(plan.model, plan.dtype),
            index=f"{WEIGHTS}/{INDEX}",
        ),
        files=files,
        prefix_length=plan.prefix_length,
        prefix_cache=PREFIX_CACHE if plan.prefix_length else None,
        parity=parity,
        producer={"glmlite": glmlite.__version__, **backend.producer()},
        checkpoint=plan.checkpoint.fingerprint(),
    )
