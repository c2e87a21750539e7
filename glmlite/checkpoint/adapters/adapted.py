"""A checkpoint with its adapters: reads as one model, whose parts its fingerprint still names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from glmlite.checkpoint.adapters.contents import Contents, read_contents
from glmlite.checkpoint.adapters.lora import pair_terms
from glmlite.checkpoint.adapters.low_rank import LowRankTerm, add_terms
from glmlite.checkpoint.adapters.opening import AdapterEntry, OpenAdapter, open_adapter
from glmlite.checkpoint.checkpoint import Checkpoint
from glmlite.checkpoint.prefix import Prefix, read_prefix
from glmlite.checkpoint.source import Shape, WeightSource, check_parameters
from glmlite.errors import CheckpointError, ConfigError
from glmlite.model.config import ModelConfig
from glmlite.model.parameters import parameter_shapes


@dataclasses.dataclass(frozen=True)
class AdaptedCheckpoint:
    """A `WeightSource`: the base model's tensors with every adapter in them.

    Attributes:
        base: the checkpoint.
        config: sizes of the model; only its parameters are offered.
        prefix: P-Tuning keys and values per layer, or None.
        terms: low-rank terms by the matrix they are added to.
        replaced: parameters that an adapter brings whole (PEFT's modules_to_save), and its tensors.
        records: what the manifest says of each adapter.
    """

    base: Checkpoint
    config: ModelConfig
    prefix: Prefix | None = None
    terms: Mapping[str, Sequence[LowRankTerm]] = dataclasses.field(default_factory=dict)
    replaced: Mapping[str, tuple[WeightSource, str]] = dataclasses.field(default_factory=dict)
    records: tuple[dict[str, Any], ...] = ()

    def shapes(self) -> Mapping[str, Shape]:
        """See `WeightSource.shapes`."""
        return parameter_shapes(self.config)

    def read(self, name: str) -> NDArray[Any]:
        """See `WeightSource.read`; float32 where an adapter changes the tensor."""
        if name in self.replaced:
            source, there = self.replaced[name]
            tensor = source.read(there)
        else:
            tensor = self.base.read(name)
        return add_terms(tensor, self.terms[name]) if name in self.terms else tensor

    def notes(self) -> list[str]:
        """What a user should know about the base checkpoint's files; see `Checkpoint.notes`."""
        return self.base.notes()

    def fingerprint(self) -> dict[str, Any]:
        """The base checkpoint's identity; `adapters` lists those of the adapters, if any."""
        identity = self.base.fingerprint()
        return {**identity, "adapters": list(self.records)} if self.records else identity


def adapt(
    base: Checkpoint, config: ModelConfig, entries: Sequence[AdapterEntry] = ()
) -> AdaptedCheckpoint:
    """Put adapters on a checkpoint; headers are read and compared, tensors are not.

    A checkpoint may carry an adapter in the same file (MindFormers saves LoRA so): it counts as the
    first one; an entry that names the same file sets its weight and alpha.

    Args:
        base: the open checkpoint.
        config: sizes of its model.
        entries: of `model.adapter`, in order.

    Raises:
        CheckpointError: the checkpoint or an adapter does not fit the model; names the tensor.
        ConfigError: adapters that cannot be combined, or whose scale is unknown.
    """
    targets = parameter_shapes(config)
    within = read_contents(base.shapes(), targets)
    check_parameters(base, config, accepted=(*within.lora, *within.prefix))
    parts: list[tuple[OpenAdapter, Contents]] = []
    own = OpenAdapter(base, base.path.name)
    for entry in entries:
        adapter = open_adapter(entry)
        if adapter.source.path == base.path and within.is_adapter:
            own = dataclasses.replace(adapter, source=base)
        else:
            parts.append((adapter, read_adapter(adapter, targets)))
    if within.is_adapter:
        parts.insert(0, (own, dataclasses.replace(within, whole={})))
    return _combine(base, config, parts)


def read_adapter(adapter: OpenAdapter, targets: Mapping[str, Shape]) -> Contents:
    """What an adapter holds, once all of it is known and it holds something.

    Raises:
        CheckpointError: tensors of an unknown kind; names them.
        ConfigError: a module that adapter_config.json promises is missing.
    """
    contents = read_contents(adapter.source.shapes(), targets)
    if contents.unknown or not contents.is_adapter:
        names = contents.unknown or tuple(adapter.source.shapes())
        raise CheckpointError(
            "{file} is no adapter that glmlite knows: it holds {names}.",
            hint="glmlite reads LoRA of PEFT and MindFormers, and P-Tuning v2 prefixes; for this "
            "model's own weights use --checkpoint.",
            file=adapter.label,
            names=", ".join(names[:3]),
        )
    for name, there in contents.whole.items():
        shape = tuple(adapter.source.shapes()[there])
        if shape != tuple(targets[name]):
            raise CheckpointError(
                "{file}: {name} is {found}, this model needs {needed}.",
                hint="The adapter was trained for a model of another size.",
                file=adapter.label,
                name=there,
                found=list(shape),
                needed=list(targets[name]),
            )
    for module in adapter.peft.modules_to_save if adapter.peft else ():
        if not any(f".{name}".endswith(f".{module}.weight") for name in contents.whole):
            raise CheckpointError(
                "{file}: adapter_config.json promises the whole module {module}, but its weights "
                "are not there.",
                hint="Fetch the adapter again; it is not complete.",
                file=adapter.label,
                module=module,
            )
    return contents


def _combine(
    base: Checkpoint, config: ModelConfig, parts: Sequence[tuple[OpenAdapter, Contents]]
) -> AdaptedCheckpoint:
    targets = parameter_shapes(config)
    terms: dict[str, list[LowRankTerm]] = {}
    replaced: dict[str, tuple[WeightSource, str]] = {}
    owner: dict[str, str] = {}
    prefix: Prefix | None = None
    records = []
    for adapter, contents in parts:
        added = pair_terms(adapter, contents.lora, targets)
        for term in added:
            terms.setdefault(term.target, []).append(term)
        if (contents.prefix or contents.whole) and adapter.weight != 1.0:
            raise ConfigError(
                "{file} has the weight {weight:g}, but {name} is no LoRA and cannot be scaled.",
                hint="Leave its weight out.",
                file=adapter.label,
                weight=adapter.weight,
                name=next(iter((*contents.prefix, *contents.whole.values()))),
            )
        for name, there in contents.whole.items():
            _claim(owner, name, adapter.label)
            replaced[name] = (adapter.source, there)
        if contents.prefix:
            _claim(owner, "prefix_encoder", adapter.label)
            prefix = read_prefix(adapter.source, config)
        records.append(_record(adapter, added, contents, prefix))
    return AdaptedCheckpoint(base, config, prefix, terms, replaced, tuple(records))


def _claim(owner: dict[str, str], name: str, label: str) -> None:
    if name in owner:
        raise ConfigError(
            "{first} and {second} both bring {name}; there can be only one.",
            hint="Leave one of them out of model.adapter.",
            first=owner[name],
            second=label,
            name=name,
        )
    owner[name] = label


def _record(
    adapter: OpenAdapter,
    terms: Sequence[LowRankTerm],
    contents: Contents,
    prefix: Prefix | None,
) -> dict[str, Any]:
    """What a manifest says of one adapter."""
    record: dict[str, Any] = {"kinds": list(contents.kinds)}
    if terms:
        record["weight"] = adapter.weight
        record["rank"] = sorted({term.rank for term in terms})
        record["alpha"] = sorted({term.alpha for term in terms})
        record["matrices"] = len(terms)
    if contents.prefix and prefix:
        record["prefix_length"] = int(prefix[0][0].shape[1])
    return {**record, **adapter.fingerprint()}
