"""What an export recipe says, checked: which model, exported how."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

from glmlite.errors import ConfigError
from glmlite.exporter import schema
from glmlite.exporter.keys import check_keys, merge_overrides
from glmlite.exporter.mindformers_yaml import is_mindformers, translate
from glmlite.exporter.recipes import find_recipe
from glmlite.exporter.schema import Where
from glmlite.exporter.stand_in import StandIn
from glmlite.i18n import _
from glmlite.model.config import FAMILIES, ROPE_KINDS, Family, RopeConfig, RopeKind

Dtype = Literal["float32", "float16"]
Format = Literal["mindir", "onnx"]
Flavor = Literal["ort", "standard"]
Overrides = Mapping[str, Any] | Sequence[str]

_ADAPTER_KEYS = {"path", "weight", "alpha"}


@dataclasses.dataclass(frozen=True)
class Adapter:
    """A trained addition to the checkpoint, and how strongly it counts.

    Attributes:
        path: folder or file.
        weight: 1 is as trained.
        alpha: of a LoRA, where its files do not tell (MindFormers' do not), or in place of it.
    """

    path: Path
    weight: float = 1.0
    alpha: float | None = None


@dataclasses.dataclass(frozen=True)
class ModelSection:
    """`model:` of a recipe.

    Attributes:
        checkpoint: Hugging Face folder or weights file.
        adapters: P-Tuning prefix or LoRA; several are added up.
        family: whose prompts the model was trained on; None: as config.json tells.
        tokenizer: None: `tokenizer.model` beside the checkpoint.
        dtype: of weights and computation in the graphs.
        preset: a published model's sizes, used where there is no config.json.
        rope: rotary settings, where config.json cannot tell.
        sizes: what a MindFormers YAML says of the network, where there is no config.json.
    """

    checkpoint: Path
    adapters: tuple[Adapter, ...] = ()
    family: Family | None = None
    tokenizer: Path | None = None
    dtype: Dtype = "float32"
    preset: str | None = None
    rope: RopeConfig | None = None
    sizes: StandIn | None = None


@dataclasses.dataclass(frozen=True)
class ParityCheck:
    """How much of the model is compared with the reference: `full`, `layers:N` or `off`."""

    mode: Literal["full", "layers", "off"] = "full"
    layers: int | None = None

    def __str__(self) -> str:
        return f"layers:{self.layers}" if self.mode == "layers" else self.mode


@dataclasses.dataclass(frozen=True)
class ExportSection:
    """`export:` of a recipe.

    Attributes:
        output: folder of the bundle.
        format: of the graphs.
        flavor: of ONNX graphs; None for MindIR.
        batch_size: B.
        cache_length: S of the graphs, ascending.
        prefill_tokens: T of the prefill graphs, ascending.
        score_tokens: T of the score graph, or None for none.
        parity: how much is compared with the reference.
    """

    output: Path
    format: Format = "mindir"
    flavor: Flavor | None = None
    batch_size: int = 1
    cache_length: tuple[int, ...] = (2048,)
    prefill_tokens: tuple[int, ...] = (128,)
    score_tokens: int | None = None
    parity: ParityCheck = ParityCheck()

    def __post_init__(self) -> None:
        shortest = min(self.cache_length)
        for key, tokens in (
            ("export.prefill_tokens", max(self.prefill_tokens)),
            ("export.score_tokens", self.score_tokens or 1),
        ):
            if tokens > shortest:
                raise ConfigError(
                    "{key} is {tokens}, but export.cache_length has only {shortest} slots.",
                    hint="A chunk must fit into the shortest cache: lower {key} or raise "
                    "export.cache_length.",
                    key=key,
                    tokens=tokens,
                    shortest=shortest,
                )
        if self.flavor is not None and self.format != "onnx":
            raise ConfigError(
                "export.flavor is {flavor}, but export.format is {format}; only onnx has flavors.",
                hint="Remove export.flavor, or --set export.format=onnx.",
                flavor=self.flavor,
                format=self.format,
            )


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """A whole recipe.

    Attributes:
        source: the file it came from, for messages.
        remarks: what the user should know of how a MindFormers YAML was read.
    """

    model: ModelSection
    export: ExportSection
    source: str = ""
    remarks: tuple[str, ...] = ()


def load_config(
    recipe: str | Path | Mapping[str, Any], overrides: Overrides | None = None
) -> ExportConfig:
    """Read and check an export recipe, or an export YAML of MindFormers.

    Args:
        recipe: a YAML file, the name of a shipped recipe, or the same as nested mappings.
        overrides: `["export.batch_size=2", …]` as on the command line, or a mapping whose keys are
            full (`"model.checkpoint"`), short (`"checkpoint"`) or sections (`"export": {…}`).

    Raises:
        ConfigError: names the file, the key's full path, and the nearest known key or the values
            that it may have.
    """
    if isinstance(recipe, Mapping):
        file, data = _("recipe"), dict(recipe)
    else:
        from glmlite.exporter.includes import read_with_includes

        path = find_recipe("export_configs", recipe)
        file, data = path.name, read_with_includes(path)
    sizes: StandIn | None = None
    remarks: tuple[str, ...] = ()
    if is_mindformers(data):
        told = merge_overrides({}, overrides or {})
        found = translate(data, file, told)
        data, sizes, remarks = found.recipe, found.sizes, found.remarks
    check_keys(data, file)
    data = merge_overrides(data, overrides or {})
    model = _model_section(data.get("model") or {}, Where(file, "model"))
    return ExportConfig(
        dataclasses.replace(model, sizes=sizes),
        _export_section(data.get("export") or {}, Where(file, "export")),
        source=file,
        remarks=remarks,
    )


def _model_section(data: Mapping[str, Any], where: Where) -> ModelSection:
    given = {key: value for key, value in data.items() if value is not None}
    if "checkpoint" not in given:
        raise ConfigError(
            "{file}: model.checkpoint is not set.",
            hint="Name the trained model: --checkpoint DIR",
            file=where.file,
        )
    result: dict[str, Any] = {}
    for key, value in given.items():
        at = where.child(key)
        if key == "adapter":
            result["adapters"] = _adapters(at, value)
        elif key == "rope":
            result["rope"] = _rope(at, value)
        elif key in ("checkpoint", "tokenizer"):
            result[key] = schema.path(at, value)
        elif key == "family":
            result[key] = schema.choice(at, value, FAMILIES)
        elif key == "dtype":
            result[key] = schema.choice(at, value, get_args(Dtype))
        else:
            result[key] = schema.text(at, value)
    return ModelSection(**result)


def _export_section(data: Mapping[str, Any], where: Where) -> ExportSection:
    given = {key: value for key, value in data.items() if value is not None}
    if "output" not in given:
        raise ConfigError(
            "{file}: export.output is not set.",
            hint="Name the folder of the bundle: --output DIR",
            file=where.file,
        )
    result: dict[str, Any] = {}
    for key, value in given.items():
        at = where.child(key)
        if key == "output":
            result[key] = schema.path(at, value)
        elif key == "format":
            result[key] = schema.choice(at, value, get_args(Format))
        elif key == "flavor":
            result[key] = schema.choice(at, value, get_args(Flavor))
        elif key == "batch_size":
            result[key] = schema.whole(at, value, high=1024)
        elif key == "score_tokens":
            result[key] = schema.whole(at, value)
        elif key == "parity":
            result[key] = _parity(at, value)
        else:
            result[key] = schema.sizes(at, value)
    if result.get("format") == "onnx":
        result.setdefault("flavor", "ort")
    return ExportSection(**result)


def _adapters(where: Where, value: Any) -> tuple[Adapter, ...]:
    if not isinstance(value, (list, tuple)):
        return (Adapter(schema.path(where, value)),)
    adapters = []
    for item in value:
        if not isinstance(item, Mapping) or not {"path"} <= set(item) <= _ADAPTER_KEYS:
            where.refuse(value, _("a path, or a list of entries with path, weight and alpha"))
        weight = schema.positive(where.child("weight"), item.get("weight", 1.0))
        told = item.get("alpha")
        alpha = None if told is None else schema.positive(where.child("alpha"), told)
        adapters.append(Adapter(schema.path(where.child("path"), item["path"]), weight, alpha))
    return tuple(adapters)


def _rope(where: Where, value: Any) -> RopeConfig:
    kind = schema.choice(where.child("kind"), value.get("kind"), ROPE_KINDS)
    ratio = value.get("ratio")
    if kind == "standard":
        if ratio not in (None, 1):
            where.child("ratio").refuse(ratio, _("left out: a standard rope has none"))
        return RopeConfig()
    return RopeConfig(cast(RopeKind, kind), schema.positive(where.child("ratio"), ratio))


def _parity(where: Where, value: Any) -> ParityCheck:
    if value is False or value == "off":  # YAML reads a bare `off` as false
        return ParityCheck("off")
    if value == "full":
        return ParityCheck()
    layers = re.fullmatch(r"layers:([1-9][0-9]{0,3})", value) if isinstance(value, str) else None
    if layers is None:
        where.refuse(value, "full | layers:N | off")
    return ParityCheck("layers", int(layers[1]))
