"""Gears: the sizes that one dynamic graph is compiled for.

GE compiles a graph whose inputs have dimensions of -1 once for each gear, a combination of sizes
that is listed beforehand (2 to 100 of them), and picks the gear by the shapes that a step brings.
MindIRs of glmlite's exports are static and need none; gears are for dynamic ones, e.g. a
converted ONNX.

    ge.inputShape   every input in order, `name:dims`, -1 where a gear decides; the names are those
                    of the graph's file
    ge.dynamicDims  for each gear the values of all the -1, in the order in which they stand there
    ge.dynamicNodeType  1: the inputs are fed by the caller, not by a data set

Source: CANN, "Ascend Graph API", options of sessions and graphs; MindSpore Lite,
src/extendrt/delegate/ascend_ge/ge_dynamic_utils.cc.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence

from glmlite.errors import ConfigError
from glmlite.runtime.engines.lite_config.keys import MAX_GEARS
from glmlite.toolchain.signature import TensorInfo

_GEAR = re.compile(r"(\d+)x(\d+)x(\d+)")
_MAX_SIZE = 2**20
# What each dimension of an input means: batch, tokens, cache length; None is fixed by the model.
_ROWS: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    ("input_ids", ("batch", "tokens")),
    ("position", ("batch",)),
    ("valid_length", ("batch",)),
)
_CACHE: tuple[str | None, ...] = ("batch", None, "cache_length", None)


@dataclasses.dataclass(frozen=True, order=True)
class Gear:
    """One combination of sizes: B, T and S."""

    batch: int
    tokens: int
    cache_length: int

    def __post_init__(self) -> None:
        if not all(1 <= n <= _MAX_SIZE for n in dataclasses.astuple(self)):
            raise ConfigError(
                "Gear {gear}: every size must lie between 1 and {limit}.",
                gear=str(self),
                limit=_MAX_SIZE,
            )
        if self.tokens > self.cache_length:
            raise ConfigError(
                "Gear {gear}: {tokens} tokens do not fit a cache of {length} slots.",
                gear=str(self),
                tokens=self.tokens,
                length=self.cache_length,
            )

    def __str__(self) -> str:
        return f"{self.batch}x{self.tokens}x{self.cache_length}"


def parse_gears(text: str) -> tuple[Gear, ...]:
    """Gears as a user writes them: `1x32x512,1x128x512,…`, each batch x tokens x cache length.

    Raises:
        ConfigError: fewer than 2 or more than 100, one twice, or not in ascending order.
    """
    gears = []
    for part in text.split(","):
        found = _GEAR.fullmatch(part.strip())
        if found is None:
            raise ConfigError(
                "{text!r} is no gear; one is BATCHxTOKENSxCACHE, for example 1x128x2048.",
                text=part.strip()[:80],
            )
        gears.append(Gear(*map(int, found.groups())))
    check_gears(gears)
    return tuple(gears)


def check_gears(gears: Sequence[Gear]) -> None:
    """Refuse lists that GE would refuse, or compile to no use.

    Raises:
        ConfigError: see `parse_gears`.
    """
    if not 2 <= len(gears) <= MAX_GEARS:
        raise ConfigError(
            "There are {count} gears; GE takes 2 to {limit}.",
            hint="Every gear is compiled as a graph of its own: three or four are a good number. "
            "With one size, export a static graph.",
            count=len(gears),
            limit=MAX_GEARS,
        )
    for before, gear in itertools.pairwise(gears):
        if before == gear:
            raise ConfigError("Gear {gear} is listed twice.", gear=str(gear))
        if before > gear:
            raise ConfigError(
                "Gear {gear} stands behind {before}; list gears in ascending order.",
                gear=str(gear),
                before=str(before),
            )


def _roles(position: int) -> tuple[str | None, ...]:
    return _ROWS[position][1] if position < len(_ROWS) else _CACHE


def gear_options(inputs: Sequence[TensorInfo], gears: Sequence[Gear]) -> dict[str, str]:
    """`[ge_graph_options]` for a graph that follows the contract, with -1 among its dimensions.

    Args:
        inputs: of the graph, in order, under the names of its file (`toolchain.signature`).
        gears: see `parse_gears`.

    Raises:
        ConfigError: the inputs are not the contract's, none of them is dynamic, a dimension is
            dynamic that the model fixes, a name cannot be written, or a gear differs from what the
            graph has fixed, or two gears differ only in that.
    """
    check_gears(gears)
    if len(inputs) < len(_ROWS) + 2 or (len(inputs) - len(_ROWS)) % 2:
        raise ConfigError(
            "The graph has {count} inputs; input_ids, position, valid_length and two caches a "
            "layer are needed for gears.",
            count=len(inputs),
        )
    if not any(-1 in info.shape for info in inputs):
        raise ConfigError(
            "The graph has no dynamic dimension, so it takes no gears.",
            hint="Static graphs, glmlite's own MindIRs among them, are compiled for their one "
            "size; leave --gears out.",
        )
    wanted: list[str] = []
    for position, info in enumerate(inputs):
        roles = _roles(position)
        if len(roles) != len(info.shape) or not info.name or set(info.name) & set(":;,\n"):
            raise ConfigError(
                "Input {position} of the graph is {name!r} with {count} dimensions; the contract "
                "has {expected} there.",
                position=position,
                name=info.name,
                count=len(info.shape),
                expected=len(roles),
            )
        for role, size in zip(roles, info.shape, strict=True):
            if size != -1 and role is None:
                continue
            if role is None:
                raise ConfigError(
                    "Input {name} has a dynamic dimension that the model fixes.", name=info.name
                )
            if size == -1:
                wanted.append(role)
                continue
            for gear in gears:
                if getattr(gear, role) != size:
                    raise ConfigError(
                        "Gear {gear} asks for another size than the graph's: {name} has {size} "
                        "fixed.",
                        gear=str(gear),
                        name=info.name,
                        size=size,
                    )
    shapes = [f"{i.name}:{','.join(map(str, i.shape))}" for i in inputs]
    dims = [",".join(str(getattr(gear, role)) for role in wanted) for gear in gears]
    if len(set(dims)) != len(dims):
        raise ConfigError("Two gears are the same to this graph; list each combination once.")
    return {
        "ge.inputShape": ";".join(shapes),
        "ge.dynamicDims": ";".join(dims),
        "ge.dynamicNodeType": "1",
    }
