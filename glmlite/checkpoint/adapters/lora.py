"""LoRA tensors of PEFT and of MindFormers (mindpet), paired and scaled.

    PEFT:    base_model.model.<module>.lora_{A,B}.weight            scale from adapter_config.json
    mindpet: <module>.mindpet_delta_lora_{a,b} (either case)        scale alpha / r, alpha 32 at r 8

mindpet's files do not tell alpha. Its default goes with rank 8 only; for any other rank alpha has
to be given, for a guess would be silently wrong.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Literal

from glmlite.checkpoint.adapters.low_rank import LowRankTerm, check_factors
from glmlite.checkpoint.adapters.opening import OpenAdapter
from glmlite.checkpoint.source import Shape
from glmlite.errors import CheckpointError, ConfigError

Kind = Literal["peft", "mindpet"]

MINDPET_RANK = 8
MINDPET_ALPHA = 32.0

_PEFT = re.compile(r"(.+)\.lora_(embedding_)?([AB])(?:\.[A-Za-z0-9_-]+)??(\.weight)?")
_MINDPET = re.compile(r"(.+)\.mindpet_delta_lora_([abAB])")
_WRAPPER = "base_model.model."


@dataclasses.dataclass(frozen=True)
class LoraName:
    """What the name of a LoRA tensor says.

    Attributes:
        kind: who wrote it.
        module: the layer it belongs to, in the base model's naming.
        side: "a" (the inner factor) or "b".
        embedding: whether the layer is an embedding.
    """

    kind: Kind
    module: str
    side: str
    embedding: bool = False


def parse_lora_name(name: str) -> LoraName | None:
    """The parts of a LoRA tensor's name, or None for any other name."""
    match = _MINDPET.fullmatch(name)
    if match:
        return LoraName("mindpet", match[1], match[2].lower())
    match = _PEFT.fullmatch(name)
    if match and bool(match[2]) != bool(match[4]):  # embeddings' factors have no ".weight"
        return LoraName("peft", base_name(match[1]), match[3].lower(), bool(match[2]))
    return None


def base_name(name: str) -> str:
    """A tensor's name without what PEFT's wrappers put around it."""
    name = name.removeprefix(_WRAPPER)
    return re.sub(r"\.(?:base_layer|modules_to_save(?:\.default)?)(?=\.)", "", name)


def pair_terms(
    adapter: OpenAdapter, names: Mapping[str, LoraName], targets: Mapping[str, Shape]
) -> tuple[LowRankTerm, ...]:
    """Every low-rank term of an adapter, checked against the model.

    Args:
        adapter: the open adapter, with its weight and, where given, alpha.
        names: its LoRA tensors.
        targets: the model's parameters and their shapes.

    Raises:
        CheckpointError: a factor without the other, a module that the model does not have, a shape
            that does not fit; names the tensor.
        ConfigError: the scale cannot be known.
    """
    pairs: dict[str, dict[str, str]] = {}
    for name, lora in names.items():
        sides = pairs.setdefault(f"{lora.module}.weight", {})
        if lora.side in sides:
            raise CheckpointError(
                "{file}: {first} and {second} are for the same matrix.",
                hint="Save one adapter to a file of its own.",
                file=adapter.label,
                first=sides[lora.side],
                second=name,
            )
        sides[lora.side] = name
    return tuple(
        _term(adapter, target, sides, names, targets) for target, sides in sorted(pairs.items())
    )


def _term(
    adapter: OpenAdapter,
    target: str,
    sides: Mapping[str, str],
    names: Mapping[str, LoraName],
    targets: Mapping[str, Shape],
) -> LowRankTerm:
    if set(sides) != {"a", "b"}:
        raise CheckpointError(
            "{file}: {name} is there without the other factor of its product.",
            hint="Fetch the adapter again; both halves are needed.",
            file=adapter.label,
            name=next(iter(sides.values())),
        )
    lora = names[sides["a"]]
    if target not in targets:
        raise CheckpointError(
            "{file}: {name} is for {target}, which this model does not have.",
            hint="The adapter belongs to another model, or its names are those of another library.",
            file=adapter.label,
            name=sides["a"],
            target=target,
        )
    shapes = adapter.source.shapes()
    a, b = ((name, tuple(shapes[name])) for name in (sides["a"], sides["b"]))
    rank = check_factors(target, tuple(targets[target]), a, b, lora.embedding)
    alpha, scale = _scale(adapter, lora, sides["a"], rank)
    return LowRankTerm(
        adapter.source,
        target,
        sides["a"],
        sides["b"],
        rank,
        alpha,
        scale * adapter.weight,
        lora.embedding,
    )


def _scale(adapter: OpenAdapter, lora: LoraName, name: str, rank: int) -> tuple[float, float]:
    """(alpha, scale without the adapter's weight) of one term."""
    if lora.kind == "mindpet":
        if adapter.alpha is None and rank != MINDPET_RANK:
            raise ConfigError(
                "{file} does not tell its alpha, and MindFormers' default of {alpha:g} goes with "
                "rank {default}; this one has rank {rank}.",
                hint="Look up lora_alpha in the training's YAML and give it: model.adapter: "
                "[{{path: …, alpha: …}}]",
                file=adapter.label,
                alpha=MINDPET_ALPHA,
                default=MINDPET_RANK,
                rank=rank,
            )
        alpha = MINDPET_ALPHA if adapter.alpha is None else adapter.alpha
        return alpha, alpha / rank
    config = adapter.peft
    if config is None:
        if adapter.alpha is None:
            raise ConfigError(
                "{file} has no adapter_config.json beside it, so its scale is unknown.",
                hint="Name the folder as PEFT saved it, or give alpha: model.adapter: "
                "[{{path: …, alpha: …}}]",
                file=adapter.label,
            )
        return adapter.alpha, adapter.alpha / rank
    if config.rank_of(lora.module) != rank:
        raise CheckpointError(
            "{file}: {name} has rank {rank}, but adapter_config.json says {told}.",
            hint="The two files are of different trainings; fetch both again.",
            file=adapter.label,
            name=name,
            rank=rank,
            told=config.rank_of(lora.module),
        )
    alpha = config.alpha_of(lora.module) if adapter.alpha is None else adapter.alpha
    return alpha, config.scale(alpha, rank)
