"""Which ini each graph of a set is built with, as plain data for the toolchain."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from glmlite.errors import EngineError
from glmlite.runtime.engines.lite_config.recipe import LiteConfig, load_lite_config

Variables = Callable[[], Mapping[str, Mapping[str, str]]]

# On Ascend without an ini: the first that this Lite can use. GE needs a Lite with providers.
DEFAULTS = ("ascend_ge", "ascend_acl")


def load_configs(engine_config: str) -> tuple[LiteConfig, LiteConfig]:
    """The ini of the prefill graphs and that of the decode graphs, which may be the same.

    Args:
        engine_config: a file or a recipe's name, or two with a comma between them.

    Raises:
        EngineError: one cannot be read, or they contradict each other.
    """
    names = engine_config.split(",")
    if len(names) > 2 or not all(names):
        raise EngineError(
            "engine_config is {found}; it takes one ini, or PREFILL,DECODE.", found=engine_config
        )
    prefill, decode = load_lite_config(names[0]), load_lite_config(names[-1])
    for what, one, other in (
        ("cache", prefill.cache, decode.cache),
        ("provider", prefill.provider, decode.provider),
    ):
        if one != other:
            raise EngineError(
                "{prefill} and {decode} must agree on {what}; they say {one} and {other}.",
                prefill=prefill.path.name,
                decode=decode.path.name,
                what=what,
                one=one or "-",
                other=other or "-",
            )
    return prefill, decode


def lite_choices(
    engine_config: str | None,
    device: str,
    phases: Mapping[str, str],
    variables: Variables | None = None,
) -> list[dict[str, Any]]:
    """What the toolchain may build graphs with; it takes the first that its Lite can use.

    Args:
        engine_config: what the user names; None: on Ascend the shipped recipes, else nothing.
        device: "cpu" or "ascend".
        phases: a graph's path -> its phase.
        variables: gives the keys of [ascend_context] for cache=variables, by a graph's path; None
            where nothing is known of the graphs' inputs.

    Returns:
        Dicts of "name", "provider", "cache", and "graphs": a graph's path -> {"path": an ini} or
        {"sections": what to write into one}.

    Raises:
        EngineError: an ini is not usable, or not for these graphs.
    """
    if engine_config:
        pairs = [load_configs(engine_config)]
    else:
        pairs = [load_configs(name) for name in DEFAULTS] if device == "ascend" else []
    return [_choice(*pair, device, phases, variables) for pair in pairs]


def _choice(
    prefill: LiteConfig,
    decode: LiteConfig,
    device: str,
    phases: Mapping[str, str],
    variables: Variables | None,
) -> dict[str, Any]:
    cache = prefill.cache or ("device" if device == "ascend" else "host")
    if cache != "host" and device != "ascend":
        raise EngineError(
            "{path} says cache={cache}, which needs an Ascend device.",
            hint="Use --engine-config cpu, or --device ascend.",
            path=prefill.path.name,
            cache=cache,
        )
    added: Mapping[str, Mapping[str, str]] = {}
    if cache == "variables":
        if prefill.provider != "ge":
            raise EngineError(
                "{path} says cache=variables, which needs provider=ge in [ascend_context].",
                hint="Start from the recipe ascend_ge.",
                path=prefill.path.name,
            )
        if variables is None:
            raise EngineError(
                "{path} says cache=variables, which needs a bundle of glmlite's.",
                hint="Use cache=device (the recipe ascend_ge).",
                path=prefill.path.name,
            )
        added = variables()
    graphs: dict[str, dict[str, Any]] = {}
    for path, phase in phases.items():
        config = decode if phase == "decode" else prefill
        if config.cache is None:  # not ours: Lite gets the file as its author wrote it
            graphs[path] = {"path": os.path.abspath(config.path)}
            continue
        sections = config.merged({"ascend_context": added.get(path, {})})
        graphs[path] = {"sections": {name: dict(values) for name, values in sections.items()}}
    return {
        "name": prefill.path.stem,
        "provider": prefill.provider,
        "cache": cache,
        "graphs": graphs,
    }
