"""Options that several commands share, each group bundled into one dataclass."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glmlite.i18n import _

if TYPE_CHECKING:
    from glmlite.runtime.engines import EngineOptions
    from glmlite.runtime.model import Model

# As in glmlite.runtime.engines, which is too slow to import for a help page; a test compares.
ENGINES = ("auto", "lite", "mindspore", "onnx", "reference")
DEVICES = ("auto", "cpu", "ascend")

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class FiniteRange(click.FloatRange):
    """A range of numbers without nan, which lies in every range, and without infinity."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number, or a usage error."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(_("{value} is no finite number.", value=value), param, ctx)
        return number


@dataclasses.dataclass(frozen=True)
class EngineChoice:
    """Which engine runs the bundle, and where."""

    engine: str
    toolchain: str | None
    threads: int | None
    device: str
    device_id: int
    rank_id: int
    provider: str | None
    engine_config: str | None

    def options(self) -> EngineOptions:
        """The same for `open_engine`."""
        from glmlite.runtime.engines import EngineOptions

        values = dataclasses.asdict(self)
        del values["engine"]
        return EngineOptions(**values)

    def load(self, bundle: Path) -> Model:
        """Open `bundle` with this engine."""
        from glmlite.runtime.model import load

        return load(
            bundle,
            engine=self.engine,
            toolchain=self.toolchain,
            threads=self.threads,
            device=self.device,
            device_id=self.device_id,
            rank_id=self.rank_id,
            provider=self.provider,
            engine_config=self.engine_config,
        )


@dataclasses.dataclass(frozen=True)
class GenerationChoice:
    """How long an answer may be and how its tokens are chosen."""

    max_new_tokens: int
    stop: tuple[str, ...]
    overflow: str
    speculate: str | int
    sampling: Mapping[str, float | int | None]

    def keywords(self) -> dict[str, Any]:
        """Keywords of `Model.generate` and `Model.chat`."""
        return {
            "max_new_tokens": self.max_new_tokens,
            "stop": self.stop,
            "overflow": self.overflow,
            "speculate": self.speculate,
            **self.sampling,
        }


def bundle_argument() -> Decorator:
    """The positional BUNDLE."""
    return click.argument("bundle", type=click.Path(path_type=Path), metavar="BUNDLE")


def toolchain_option() -> Decorator:
    """`--toolchain`."""
    return click.option(
        "--toolchain",
        metavar="PYTHON",
        help=_(
            "Interpreter that has mindspore or mindspore_lite, for example "
            ".toolchain/bin/python (also: GLMLITE_TOOLCHAIN). Default: this one."
        ),
    )


def json_option(text: str) -> Decorator:
    """`--json`, described by `text`."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def _stack(options: Sequence[Decorator], function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        function = option(function)
    return function


def engine_options() -> Decorator:
    """Options that choose the engine; the command gets them as `engine: EngineChoice`."""
    names = [field.name for field in dataclasses.fields(EngineChoice)]
    options: list[Decorator] = [
        click.option(
            "--engine",
            type=click.Choice(ENGINES),
            default="auto",
            show_default=True,
            help=_("What runs the graphs; auto takes the fastest that can, and says why."),
        ),
        toolchain_option(),
        click.option(
            "--threads",
            type=click.IntRange(min=1),
            metavar="N",
            help=_("Threads of the engine. Default: as many as it likes."),
        ),
        click.option(
            "--device",
            type=click.Choice(DEVICES),
            default="auto",
            show_default=True,
            help=_("Where MindSpore Lite runs; auto takes Ascend where its driver is."),
        ),
        click.option(
            "--device-id",
            type=click.IntRange(min=0),
            default=0,
            metavar="N",
            help=_("Ascend device. Default: 0."),
        ),
        click.option(
            "--rank-id",
            type=click.IntRange(min=0),
            default=0,
            metavar="N",
            help=_("Rank among several Ascend devices. Default: 0."),
        ),
        click.option(
            "--provider",
            metavar="NAME",
            help=_("MindSpore Lite's Ascend provider, for example ge. Default: Lite's own."),
        ),
        click.option(
            "--engine-config",
            metavar="FILE",
            help=_("MindSpore Lite settings: an .ini file, or PREFILL.ini,DECODE.ini."),
        ),
    ]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(**values: Any) -> Any:
            choice = EngineChoice(**{name: values.pop(name) for name in names})
            return function(engine=choice, **values)

        return _stack(options, wrapped)

    return decorate


def _speculate(context: click.Context, parameter: click.Parameter, value: str) -> str | int:
    from glmlite.runtime.speculation import check_speculate

    return check_speculate(int(value) if value.isdecimal() else value)


def generation_options() -> Decorator:
    """Length and sampling; the command gets them as `generation: GenerationChoice`."""
    number, count = click.FLOAT, click.INT
    sampling: list[tuple[str, Any, Any, str]] = [
        ("temperature", number, 0.0, _("0 is greedy; higher is more varied.")),
        ("top-k", count, 0, _("Sample among the K likeliest tokens; 0: among all.")),
        ("top-p", number, 1.0, _("Sample among the tokens that make up this probability.")),
        ("min-p", number, 0.0, _("Leave out tokens below this share of the likeliest.")),
        ("repetition-penalty", number, 1.0, _("Above 1: make tokens already there less likely.")),
        ("presence-penalty", number, 0.0, _("Subtracted once for a token already generated.")),
        ("frequency-penalty", number, 0.0, _("Subtracted for each time it was generated.")),
        ("seed", count, None, _("Same seed, same answer. Default: a new one each time.")),
    ]
    names = [name.replace("-", "_") for name, *_rest in sampling]
    options: list[Decorator] = [
        click.option(
            "--max-new-tokens",
            type=click.IntRange(min=1),
            default=512,
            show_default=True,
            metavar="N",
            help=_("End an answer after this many tokens."),
        ),
        click.option(
            "--stop",
            multiple=True,
            metavar="TEXT",
            help=_("End before this text would appear; may be given several times."),
        ),
        click.option(
            "--overflow",
            type=click.Choice(["error", "sliding"]),
            default="error",
            show_default=True,
            help=_("When the cache is full: stop with an error, or drop the oldest and say so."),
        ),
        click.option(
            "--speculate",
            default="auto",
            show_default=True,
            metavar="auto|off|N",
            callback=_speculate,
            help=_(
                "Draft tokens from repetitions and verify several in one step. auto: where it pays "
                "and the answer stays the same; N: always N, which may change tokens of quantized "
                "models."
            ),
        ),
        *(
            click.option(
                f"--{name}",
                type=kind,
                default=default,
                show_default=default is not None,
                metavar="N" if kind is count else "X",
                help=text,
            )
            for name, kind, default, text in sampling
        ),
    ]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(**values: Any) -> Any:
            choice = GenerationChoice(
                max_new_tokens=values.pop("max_new_tokens"),
                stop=values.pop("stop"),
                overflow=values.pop("overflow"),
                speculate=values.pop("speculate"),
                sampling={name: values.pop(name) for name in names},
            )
            return function(generation=choice, **values)

        return _stack(options, wrapped)

    return decorate
