"""`manifest.json`, schema version 1: what a bundle is, checked before anything in it is opened."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal, NoReturn, TypeVar

from glmlite.bundle.accuracy import AccuracyEntry, TensorAccuracy
from glmlite.bundle.graphs import find_fault
from glmlite.errors import BundleError, GlmliteError
from glmlite.i18n import _
from glmlite.model.config import FAMILIES, Family, ModelConfig

SCHEMA_VERSION = 1
Phase = Literal["prefill", "decode", "score"]
DTYPES = ("float32", "float16")

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class TokenizerEntry:
    """The tokenizer's file and the ids of its special tokens."""

    file: str
    special_ids: dict[str, int]


@dataclasses.dataclass(frozen=True)
class GraphEntry:
    """One graph: its phase, T, S and B, its file, and the names of inputs and outputs in order.

    An ONNX graph is dynamic: `tokens` 0 is any T, `cache_length` the largest S that it takes,
    `batch_size` the B that an engine runs; one file may serve several phases. `flavor` is "ort"
    (operators of ONNX Runtime) or "standard", and None for MindIR.
    """

    phase: Phase
    tokens: int
    cache_length: int
    batch_size: int
    format: str
    file: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    mindir_version: int | None = None
    flavor: str | None = None


@dataclasses.dataclass(frozen=True)
class WeightsEntry:
    """The weights: dtype, quantization scheme, bytes, and the index of the shared file."""

    dtype: str
    quantization: str
    bytes: int
    index: str


@dataclasses.dataclass(frozen=True)
class FileEntry:
    """Size in bytes and sha256 (hex) of one file."""

    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class ParityEntry:
    """How far one graph's results lay from the reference's when the bundle was made.

    Attributes:
        graph: the graph's file. engine: what ran it, with its version. steps: calls compared.
        max_abs: largest difference of two logits. cosine: smallest of all rows.
        top1: share of rows whose largest logit is the same token.
        layers: layers of the compared model (fewer than the model's under `parity: layers:N`).
    """

    graph: str
    engine: str
    steps: int
    max_abs: float
    cosine: float
    top1: float
    layers: int


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The whole manifest; DESIGN's contract, schema version 1."""

    model: ModelConfig
    family: Family
    tokenizer: TokenizerEntry | None
    graphs: tuple[GraphEntry, ...]
    weights: WeightsEntry
    files: dict[str, FileEntry]
    prefix_length: int
    prefix_cache: str | None
    parity: tuple[ParityEntry, ...]
    producer: dict[str, str]
    checkpoint: dict[str, Any]
    schema_version: int = SCHEMA_VERSION
    accuracy: AccuracyEntry | None = None
    accuracy_report: str | None = None
    tuned_settings: str | None = None

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            _fail(_("family is {found!r}", found=self.family))
        named = [g.file for g in self.graphs] + [self.weights.index]
        named += [self.tokenizer.file] if self.tokenizer else []
        slots = (self.prefix_cache, self.accuracy_report, self.tuned_settings)
        named += [path for path in slots if path]
        for path in [*named, *self.files]:
            check_relative(path)
        for path in named:
            if path not in self.files:
                _fail(_("{path} is named, but not among the files", path=path))
        if self.weights.dtype not in DTYPES:
            _fail(_("weights.dtype is {found!r}", found=self.weights.dtype))
        if fault := find_fault(self.graphs, self.prefix_length):
            _fail(fault)
        for entry in self.parity:
            if not all(map(math.isfinite, (entry.max_abs, entry.cosine, entry.top1))):
                _fail(_("parity of {path} is no number", path=entry.graph))
        if any(not isinstance(value, str) for value in self.producer.values()):
            _fail(_("producer holds more than names and versions"))
        if bool(self.prefix_length) != bool(self.prefix_cache) or self.prefix_length < 0:
            _fail(_("prefix_length and prefix_cache do not belong together"))

    def to_json(self) -> str:
        """The file's text."""
        data = dataclasses.asdict(self)
        for slot in ("accuracy", "accuracy_report", "tuned_settings"):
            if data[slot] is None:  # optional; readers that do not know it need not meet it
                del data[slot]
        for graph in data["graphs"]:
            if graph["flavor"] is None:
                del graph["flavor"]
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Parse and check a manifest.

        Raises:
            BundleError: not JSON, another schema version, unknown or missing keys, unsafe paths.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BundleError("manifest.json is no JSON: {error}", error=str(error)) from error
        if not isinstance(data, dict):
            _fail(_("it is no JSON object"))
        version = data.get("schema_version")
        if version != SCHEMA_VERSION:
            raise BundleError(
                "manifest.json has schema version {found!r}; this glmlite reads version {known}.",
                hint="A newer bundle needs a newer glmlite (pip install -U glmlite); an older one "
                "is exported again.",
                found=version,
                known=SCHEMA_VERSION,
            )
        try:
            return _parse(data)
        except BundleError:
            raise
        except GlmliteError as error:
            raise BundleError("manifest.json: {error}", error=str(error)) from error
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            raise BundleError(
                "manifest.json does not follow the schema: {error}", error=str(error)
            ) from error


def _fail(reason: str) -> NoReturn:
    raise BundleError(
        "manifest.json is not usable: {reason}.",
        hint="Get the bundle again from where it was made, or export it again.",
        reason=reason,
    )


def check_relative(path: object) -> None:
    """Refuse a path that could leave the bundle's folder."""
    if (
        not isinstance(path, str)
        or not path
        or "\\" in path
        or "\0" in path
        or PurePosixPath(path).is_absolute()
        or any(part in ("..", ".", "") for part in path.split("/"))
    ):
        raise BundleError(
            "manifest.json names the path {path!r}, which is not a plain path inside the bundle.",
            path=path,
        )


def _build(cls: type[T], data: object, where: str) -> T:
    """A dataclass from a mapping with exactly its keys and plain values of their types."""
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if not isinstance(data, Mapping):
        _fail(_("{where} is no object", where=where))
    required = {n for n, f in fields.items() if f.default is dataclasses.MISSING}
    unknown, missing = sorted(set(data) - set(fields)), sorted(required - set(data))
    if unknown or missing:
        raise BundleError(
            "manifest.json: {where} has unknown keys [{unknown}] and lacks [{missing}].",
            hint="It may come from a newer glmlite: pip install -U glmlite.",
            where=where,
            unknown=", ".join(unknown),
            missing=", ".join(missing),
        )
    plain: dict[str, tuple[type, ...]] = {
        "int": (int,),
        "str": (str,),
        "float": (int, float),
        "Phase": (str,),
        "int | None": (int, type(None)),
        "str | None": (str, type(None)),
    }
    values = {}
    for name, value in data.items():
        kinds = plain.get(str(fields[name].type))
        if kinds and (not isinstance(value, kinds) or isinstance(value, bool)):
            _fail(_("{where}.{name} is {value!r}", where=where, name=name, value=value))
        if str(fields[name].type) == "tuple[str, ...]":
            if not isinstance(value, list) or any(not isinstance(v, str) for v in value):
                _fail(_("{where}.{name} is no list of names", where=where, name=name))
            value = tuple(value)
        values[name] = value
    return cls(**values)


def _list(data: object, where: str) -> Sequence[Any]:
    if not isinstance(data, list):
        _fail(_("{where} is no list", where=where))
    return data


def _parse(data: dict[str, Any]) -> Manifest:
    tokenizer = data.get("tokenizer")
    files, accuracy = data.get("files"), data.get("accuracy")
    if not isinstance(files, Mapping):
        _fail(_("files is no object"))
    parsed = {
        "model": ModelConfig.from_dict(data.get("model", {})),
        "tokenizer": _build(TokenizerEntry, tokenizer, "tokenizer") if tokenizer else None,
        "graphs": tuple(
            _build(GraphEntry, g, f"graphs[{i}]")
            for i, g in enumerate(_list(data.get("graphs"), "graphs"))
        ),
        "weights": _build(WeightsEntry, data.get("weights"), "weights"),
        "files": {path: _build(FileEntry, f, f"files[{path}]") for path, f in files.items()},
        "parity": tuple(
            _build(ParityEntry, p, f"parity[{i}]")
            for i, p in enumerate(_list(data.get("parity"), "parity"))
        ),
        "accuracy": _parse_accuracy(accuracy) if accuracy else None,
    }
    return _build(Manifest, {**data, **parsed}, "the manifest")


def _parse_accuracy(data: object) -> AccuracyEntry:
    if not isinstance(data, Mapping):
        _fail(_("{where} is no object", where="accuracy"))
    layers = _list(data.get("layers", []), "accuracy.layers")
    if any(isinstance(x, bool) or not isinstance(x, int | float) for x in layers):
        _fail(_("{where} is no list of numbers", where="accuracy.layers"))
    tensors = tuple(
        _build(TensorAccuracy, tensor, f"accuracy.tensors[{i}]")
        for i, tensor in enumerate(_list(data.get("tensors", []), "accuracy.tensors"))
    )
    whole = {**data, "layers": tuple(layers), "tensors": tensors}
    return _build(AccuracyEntry, whole, "accuracy")
