"""A request to quantize: checked before anything is written."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from glmlite.bundle import Bundle
from glmlite.bundle.manifest import GraphEntry, Manifest
from glmlite.errors import ConfigError
from glmlite.keywords import check_flag, check_keywords, check_path
from glmlite.quant.conversion import commands
from glmlite.quant.converter import Command, Converter, find_converter
from glmlite.quant.recipe import QuantRecipe, load_recipe
from glmlite.quant.sample import MAX_TOKENS, MIN_TOKENS, Sample, make_sample
from glmlite.quant.weights import Integer
from glmlite.runtime.ranges import check_integer, check_number

if TYPE_CHECKING:
    from glmlite.quant.accuracy import AccuracyReport

TIMEOUT = 3600.0
# What `weights.quantization` says of bundles that this package made. Others hold float graphs, even
# where the checkpoint had been quantized ("int4").
SCHEMES = ("ascend_on_the_fly_int8", "lite_dynamic_int8", "portable_int8", "portable_uint8")


@dataclasses.dataclass(frozen=True)
class QuantizeOptions:
    """How to quantize. Paths may be given as text.

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

    Raises:
        ConfigError: a value is out of its range, or two do not go together.
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

    def __post_init__(self) -> None:
        for name in ("converter", "text", "calibration"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, check_path(name, value))
        # A bare name is looked up, and `./name` is not; as a Path they would be the same.
        for name in ("toolchain", "config"):
            if (value := getattr(self, name)) is not None:
                check_path(name, value)
        object.__setattr__(self, "settings", _settings(self.settings))
        for name in ("portable", "overwrite", "accuracy", "parity"):
            check_flag(name, getattr(self, name))
        check_integer("tokens", self.tokens, MIN_TOKENS)
        if self.timeout is not None:
            check_number("timeout", self.timeout, "(0, inf)")
        if self.max_ppl_increase is not None:
            check_number("max_ppl_increase", self.max_ppl_increase, "[0, inf)")
        if self.integer is not None and self.integer not in get_args(Integer):
            raise ConfigError(
                "{name} is {found!r}; it must be one of: {known}.",
                name="integer",
                found=self.integer,
                known=", ".join(get_args(Integer)),
            )
        self._check_pairs()

    def _check_pairs(self) -> None:
        if self.max_ppl_increase is not None and not self.accuracy:
            raise ConfigError(
                "max_ppl_increase is a bar for the accuracy, which accuracy=False leaves out.",
                hint="Leave out one of them.",
            )
        if self.portable and self.converter is not None:
            raise ConfigError(
                "portable=True runs no converter, and converter names one.",
                hint="Leave out one of them.",
            )
        if self.integer is not None and not self.portable:
            raise ConfigError("integer goes with portable=True only.")

    @classmethod
    def from_options(
        cls, options: Mapping[str, Any], others: Iterable[str] = ()
    ) -> QuantizeOptions:
        """Options from keyword arguments; a `ConfigError` names the one nearest to a typo.

        Args:
            options: name -> value.
            others: names that a caller knows beside.
        """
        check_keywords(options, [*(field.name for field in dataclasses.fields(cls)), *others])
        return cls(**options)

    @property
    def for_cpus(self) -> tuple[str, ...]:
        """Names of those that are set and that only recipes for CPUs know."""
        names = ("calibration", "config", "settings", "accuracy", "parity")
        plain = QuantizeOptions()
        return tuple(name for name in names if getattr(self, name) != getattr(plain, name))


def _settings(found: object) -> tuple[str, ...]:
    """`settings` as a tuple; one text is a list of one."""
    several = [found] if isinstance(found, str) else found
    if isinstance(several, Sequence) and all(isinstance(setting, str) for setting in several):
        return tuple(several)
    raise ConfigError("settings is {found!r}; it must be a list of texts: KEY=VALUE.", found=found)


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
        loaded = load_recipe(recipe)
        if options.for_cpus:
            raise ConfigError(
                "{options}: these go with recipes for CPUs; recipe {recipe} is for a converter.",
                hint="Leave them out.",
                options=", ".join(options.for_cpus),
                recipe=loaded.name,
            )
        opened = Bundle.open(bundle)
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
