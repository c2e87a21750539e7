"""A bundle of random weights in the shapes of a published model, for measuring without one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from glmlite.bench.random_weights import RandomWeights
from glmlite.bundle import Bundle
from glmlite.bundle.bundle import MANIFEST
from glmlite.bundle.store import describe_files, publish, staging
from glmlite.checkpoint.adapters import AdaptedCheckpoint
from glmlite.errors import ConfigError, EngineError, ExportError
from glmlite.exporter.config import ExportSection
from glmlite.exporter.onnx_backend import OnnxBackend
from glmlite.exporter.pipeline import describe
from glmlite.exporter.plan import ExportPlan, plan_graphs
from glmlite.exporter.weights import DATA, WEIGHTS, weights_bytes, write_weights
from glmlite.i18n import _
from glmlite.model.config import ModelConfig
from glmlite.model.presets import PRESETS, Preset
from glmlite.progress import Progress
from glmlite.quant.cpu_job import CpuJob
from glmlite.quant.cpu_pipeline import run_cpu
from glmlite.quant.cpu_recipe import Choice, load_cpu_recipe
from glmlite.quant.cpu_source import CpuSource
from glmlite.quant.job import QuantizeOptions
from glmlite.runtime.engines import EngineOptions
from glmlite.runtime.engines.onnx_session import import_onnxruntime

NO_RECIPE = "none"
# Room for the longest context that is measured, and for a conversation.
CACHE_LENGTH = 2304
TINY = "tiny"
# A model that is made and measured in seconds.
SIZES = {
    **PRESETS,
    TINY: Preset(
        ModelConfig(
            num_layers=3,
            hidden_size=256,
            num_heads=4,
            num_groups=2,
            head_dim=64,
            ffn_hidden_size=512,
            vocab_size=2048,
            seq_length=4096,
        ),
        "glm2",
    ),
}


@dataclasses.dataclass(frozen=True)
class RandomModel:
    """What to make.

    Attributes:
        preset: a key of `SIZES`.
        recipe: of `glmlite quantize` for CPUs, by name or file; "none" keeps the weights float32.
        seed: of the weights.
        batch_size: rows of the engine.
        cache_length: tokens that a session can hold.
    """

    preset: str
    recipe: str = NO_RECIPE
    seed: int = 0
    batch_size: int = 1
    cache_length: int = CACHE_LENGTH

    def __post_init__(self) -> None:
        if self.preset not in SIZES:
            raise ConfigError(
                "--random {found!r} is no preset; there are: {known}.",
                found=self.preset,
                known=", ".join(SIZES),
            )

    def describe(self) -> dict[str, Any]:
        """What the manifest says in the place of a checkpoint's fingerprint."""
        return {"format": "random", **dataclasses.asdict(self)}


class _RandomCheckpoint(RandomWeights):
    """Random weights where an export has its checkpoint."""

    def __init__(self, model: RandomModel) -> None:
        super().__init__(SIZES[model.preset].config, model.seed)
        self._model = model

    def fingerprint(self) -> dict[str, Any]:
        """What they are."""
        return self._model.describe()


def check_engine(engine: str, options: EngineOptions) -> None:
    """See that an engine is here and runs random bundles, before one is made for it.

    Args:
        engine: a name, see `glmlite.runtime.engines.ENGINES`; "auto" means ONNX Runtime, for nobody
            makes gigabytes to see how slow NumPy is.
        options: how it is to run.

    Raises:
        EngineError: it is missing, or runs no ONNX graphs, or has not these options.
    """
    name = "onnx" if engine == "auto" else engine
    if name not in ("onnx", "reference"):
        raise EngineError(
            "Bundles of random weights hold ONNX graphs, which the engine {engine} does not run.",
            hint="--engine onnx, or --engine reference",
            engine=engine,
        )
    options.resolve(name, has_ascend=False)
    if name == "onnx":
        import_onnxruntime()


def make_random_bundle(model: RandomModel, output: Path, progress: Progress) -> Path:
    """Make a bundle, unless the same one is there already.

    Quantized weights are rounded to nearest: scales that are searched on a text would take longer
    and run no faster. No accuracy is measured, for there is nothing to compare with.

    Args:
        model: what to make.
        output: its folder.
        progress: told of every stage.

    Returns:
        The folder, absolute.

    Raises:
        ConfigError: the recipe is not known, or another bundle lies at `output`.
        ExportError: it cannot be written, or the package onnx is missing.
    """
    output = output.expanduser().absolute()
    if _is_there(model, output):
        return output
    try:
        if model.recipe == NO_RECIPE:
            _export(model, output, progress)
        else:
            run_cpu(_quantization(model), output, progress=progress)
    except ExportError as error:
        if "--output" not in error.hint:
            raise
        raise ExportError(
            "{problem}",
            hint="Free some space there, or name another folder: --keep DIR"
            if "Free some space" in error.hint
            else "Name another folder: --keep DIR",
            # Without the hint, which names an option of other commands.
            problem=str(error).partition("\n")[0],
        ) from error
    return output


def _is_there(model: RandomModel, output: Path) -> bool:
    if not (output / MANIFEST).exists():
        return False
    if Bundle.open(output).manifest.checkpoint == model.describe():
        return True
    raise ConfigError(
        "{path} holds another bundle than --random {preset} with this recipe, batch and seed.",
        hint="Name another folder: --keep DIR",
        path=str(output),
        preset=model.preset,
    )


def _quantization(model: RandomModel) -> CpuJob:
    """What `glmlite quantize` would do to these weights."""
    preset, recipe = SIZES[model.preset], load_cpu_recipe(model.recipe)
    first, second = recipe.resolve(preset.config)
    source = CpuSource(
        model=preset.config,
        family=preset.family,
        weights=RandomWeights(preset.config, model.seed),
        tokenizer=None,
        tokenizer_entry=None,
        prefix=None,
        cache_length=model.cache_length,
        batch_size=model.batch_size,
        chunks=(),
        bytes=0,
        checkpoint=model.describe(),
        producer={},
    )
    return CpuJob(
        source,
        recipe,
        _rounded(first),
        _rounded(second) if second else None,
        QuantizeOptions(accuracy=False, parity=False),
    )


def _rounded(choices: Mapping[str, Choice]) -> dict[str, Choice]:
    return {
        name: dataclasses.replace(choice, method="round", smoothing=False, outliers=0)
        for name, choice in choices.items()
    }


def _export(model: RandomModel, output: Path, progress: Progress) -> None:
    """What `glmlite export` would do to these weights."""
    backend = OnnxBackend.find(proving=False)
    preset = SIZES[model.preset]
    section = ExportSection(
        Path(),
        format="onnx",
        flavor="ort",
        cache_length=(model.cache_length,),
        batch_size=model.batch_size,
    )
    plan = ExportPlan(
        model=preset.config,
        family=preset.family,
        # It has all that is asked of a checkpoint when nothing is proved.
        checkpoint=cast(AdaptedCheckpoint, _RandomCheckpoint(model)),
        tokenizer=None,
        prefix=None,
        dtype="float32",
        graphs=plan_graphs(section),
        parity_layers=0,
        format="onnx",
        flavor="ort",
    )
    try:
        with staging(output) as folder:
            size = weights_bytes(plan.model, plan.dtype)
            progress.stage(_("Writing the weights"), size, "B")
            data = write_weights(
                plan.checkpoint, plan.model, plan.dtype, folder / WEIGHTS, progress
            )
            graphs = backend.export(folder, plan, progress)
            files = describe_files(folder, progress, {f"{WEIGHTS}/{DATA}": data})
            manifest = describe(plan, graphs, (), None, files, backend)
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
