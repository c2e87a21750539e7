"""A request to quantize for CPUs: checked before anything is written."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from glmlite.errors import ConfigError
from glmlite.quant.bar import require_text
from glmlite.quant.cpu_recipe import Choice, CpuRecipe, load_cpu_recipe
from glmlite.quant.cpu_source import CpuSource, open_source
from glmlite.quant.job import TIMEOUT, QuantizeOptions
from glmlite.quant.sample import Sample, text_sample


def check_options(recipe: str, options: QuantizeOptions) -> None:
    """Refuse options that only converters and toolchains heed.

    Args:
        recipe: name, for messages.
        options: of the caller.

    Raises:
        ConfigError: one is set.
    """
    if (
        options.converter is not None
        or options.portable
        or options.toolchain is not None
        or options.timeout not in (None, TIMEOUT)
    ):
        raise ConfigError(
            "Recipe {recipe} is for ONNX Runtime; it runs no converter and no toolchain.",
            hint="Leave --converter, --portable, --timeout and --toolchain out.",
            recipe=recipe,
        )


@dataclasses.dataclass(frozen=True)
class CpuJob:
    """A checked request.

    Attributes:
        source: the float model.
        recipe: what is to become of it.
        first: matrix name -> how it is stored.
        second: the same for the prefill graph's own weights, or None.
        options: of the caller.
    """

    source: CpuSource
    recipe: CpuRecipe
    first: Mapping[str, Choice]
    second: Mapping[str, Choice] | None
    options: QuantizeOptions

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        recipe: str | os.PathLike[str],
        options: QuantizeOptions,
    ) -> CpuJob:
        """Open both and see that they fit.

        Args:
            path: a float bundle, or a checkpoint's folder or file.
            recipe: a `.yaml` file, or the name of one in quant/.
            options: how.

        Raises:
            GlmliteError: of the kind that fits.
        """
        loaded = load_cpu_recipe(Path(recipe) if isinstance(recipe, os.PathLike) else recipe)
        check_options(loaded.name, options)
        source = open_source(Path(path).expanduser(), options.config, options.settings)
        first, second = loaded.resolve(source.model)
        options = dataclasses.replace(options, parity=options.parity and source.parity)
        job = cls(source, loaded, first, second, options)
        if options.calibration is not None and not job.needs_calibration:
            raise ConfigError(
                "Recipe {recipe} uses no calibration text.",
                hint="Leave --calibration out. To measure on a text: --text FILE",
                recipe=loaded.name,
            )
        return job

    @property
    def scheme(self) -> str:
        """What the manifest calls the weights; never what another kind of bundle is called."""
        name = self.recipe.name
        return name if name.startswith("cpu_") else f"cpu_{name}"

    @property
    def needs_calibration(self) -> bool:
        """Whether a choice asks for statistics of activations."""
        return any(
            choice.needs_calibration
            for choices in (self.first, self.second or {})
            for choice in choices.values()
        )

    def samples(self) -> tuple[Sample, Sample | None]:
        """The text that accuracy is measured on, and another one for calibration if it is needed.

        Where neither is named, each gets a half of the demo's corpus.

        Raises:
            ConfigError: a text cannot be used.
        """
        tokenizer, size = self.source.tokenizer, self.source.model.vocab_size
        tokens = self.options.tokens
        measured = text_sample(tokenizer, size, self.options.text, tokens)
        if self.options.max_ppl_increase is not None:
            require_text(measured)
        if not self.needs_calibration:
            return measured, None
        if self.options.calibration is None and self.options.text is None:
            return measured.split()
        return measured, text_sample(
            tokenizer, size, self.options.calibration, tokens, option="--calibration"
        )
