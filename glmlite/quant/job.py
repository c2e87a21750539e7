"""A request to quantize: checked before anything is written."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glmlite.bundle import Bundle
from glmlite.bundle.manifest import GraphEntry, Manifest
from glmlite.errors import ConfigError
from glmlite.quant.conversion import commands
from glmlite.quant.converter import Command, Converter, find_converter
from glmlite.quant.recipe import QuantRecipe, load_recipe
from glmlite.quant.sample import MAX_TOKENS, Sample, make_sample
from glmlite.quant.weights import Integer

if TYPE_CHECKING:
    from glmlite.quant.accuracy import AccuracyReport

TIMEOUT = 3600.0
# What `weights.quantization` says of bundles that this package made. Others hold float graphs, even
# where the checkpoint had been quantized ("int4").
SCHEMES = ("ascend_on_the_fly_int8", "lite_dynamic_int8", "portable_int8", "portable_uint8")


@dataclasses.dataclass(frozen=True)
class QuantizeOptions:
    """How to quantize.

    Attributes:
        converter: root of a MindSpore Lite package; None: PACKAGE_ROOT, LITE_HOME, the toolchain.
        toolchain: interpreter that has MindSpore or MindSpore Lite.
        portable: graphs of glmlite's own instead of a converter's.
        integer: of portable graphs; None: what the toolchain's engines run.
        text: file that accuracy is measured on; None: the demo's corpus.
        tokens: at most so many of it, and of the calibration text, are read.
        timeout: seconds for the converter and one graph; None: no limit.
        overwrite: replace a bundle that is there already.
        max_ppl_increase: percent by which the perplexity may rise; None: whatever it does.
        calibration: text of recipes for CPUs that use one; None: the demo's corpus.
        config: export recipe, where a checkpoint is quantized.
        settings: `["export.cache_length=4096", …]`, where a checkpoint is quantized.
        accuracy: of recipes for CPUs: whether it is measured.
        parity: of recipes for CPUs: whether the graphs are run and compared with the reference.
    """

    converter: str | os.PathLike[str] | None = None
    toolchain: str | os.PathLike[str] | None = None
    portable: bool = False
    integer: Integer | None = None
    text: Path | None = None
    tokens: int = MAX_TOKENS
    timeout: float | None = TIMEOUT
    overwrite: bool = False
    max_ppl_increase: float | None = None
    calibration: Path | None = None
    config: str | Path | None = None
    settings: Sequence[str] = ()
    accuracy: bool = True
    parity: bool = True


@dataclasses.dataclass(frozen=True)
class QuantizeReport:
    """What came of it.

    Attributes:
        path: the bundle's folder.
        manifest: the bundle's.
        bytes_before: that the source takes.
        seconds: that it took.
        accuracy: of recipes for CPUs: what was measured of each set of weights; the manifest has
            room for the first.
    """

    path: Path
    manifest: Manifest
    bytes_before: int
    seconds: float
    accuracy: tuple[AccuracyReport, ...] = ()


@dataclasses.dataclass(frozen=True)
class Job:
    """A checked request: source, recipe, and the names of the weights that become integers."""

    bundle: Bundle
    recipe: QuantRecipe
    names: tuple[str, ...]
    options: QuantizeOptions

    @classmethod
    def open(
        cls,
        bundle: str | os.PathLike[str],
        recipe: str | os.PathLike[str],
        options: QuantizeOptions,
    ) -> Job:
        """Open both and see that they fit.

        Raises:
            GlmliteError: of the kind that fits.
        """
        opened, loaded = Bundle.open(bundle), load_recipe(recipe)
        manifest = opened.manifest
        quantization = manifest.weights.quantization
        if quantization in SCHEMES or quantization.startswith("cpu_"):
            raise ConfigError(
                "{path} is quantized already ({scheme}).",
                hint="Quantize the bundle that it was made from.",
                path=str(opened.path),
                scheme=manifest.weights.quantization,
            )
        if any(graph.format != "mindir" for graph in manifest.graphs):
            raise ConfigError(
                "{path} holds graphs other than MindIR; recipe {recipe} is for MindIR.",
                path=str(opened.path),
                recipe=loaded.name,
            )
        if loaded.kind == "lite_cpu" and options.portable:
            raise ConfigError(
                "--portable goes with a recipe for Ascend, whose numerics it has; {recipe} makes "
                "graphs for CPUs already.",
                hint="--recipe ascend_on_the_fly_quant --portable",
                recipe=loaded.name,
            )
        if loaded.kind == "lite_cpu" and manifest.weights.dtype != "float32":
            raise ConfigError(
                "Recipe {recipe} needs a float32 bundle; {path} is {dtype}.",
                hint="Export it again with --set model.dtype=float32.",
                recipe=loaded.name,
                path=str(opened.path),
                dtype=manifest.weights.dtype,
            )
        return cls(opened, loaded, loaded.quantized_names(manifest.model), options)

    def sample(self) -> Sample:
        """The text that accuracy is measured on."""
        return make_sample(self.bundle, self.options.text, self.options.tokens)

    def commands(
        self, output: Path, converter: Converter | None = None
    ) -> list[tuple[GraphEntry, Command]]:
        """What would be run, graph by graph, by a converter or by the one that is found."""
        options = self.options
        if converter is None:
            converter = find_converter(self.recipe, options.converter, options.toolchain)
        return commands(self.bundle, self.recipe, converter, self.names, output)
