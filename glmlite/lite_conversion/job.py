"""A request to convert: which bundle, which graphs; checked before anything is written."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from glmlite.bundle import Bundle
from glmlite.bundle.contents import read_index
from glmlite.bundle.graphs import MAX_BATCH_SIZE, MAX_CACHE_LENGTH, MAX_TOKENS
from glmlite.bundle.manifest import GraphEntry, Manifest
from glmlite.errors import ConfigError
from glmlite.exporter.onnx_graph.export import names_of
from glmlite.quant.job import SCHEMES
from glmlite.toolchain.weights import INTEGERS

PREFILL_TOKENS = 128
TIMEOUT = 3600.0


@dataclasses.dataclass(frozen=True)
class ConversionOptions:
    """How to convert.

    Attributes:
        prefill_tokens: T of the prefill graphs; empty: the bundle's, or 128 where it has any T.
        cache_length: S of the graphs; empty: the bundle's.
        batch_size: B; None: the bundle's.
        score_tokens: T of a score graph; None: the bundle's, if those are fixed, else no graph.
        converter: root of a MindSpore Lite package; None: the toolchain's, PACKAGE_ROOT, LITE_HOME.
        toolchain: interpreter that has MindSpore Lite.
        timeout: seconds for the converter and one graph; None: no limit.
        parity: whether the graphs are run and compared with the reference.
        overwrite: replace a bundle that is there already.
    """

    prefill_tokens: tuple[int, ...] = ()
    cache_length: tuple[int, ...] = ()
    batch_size: int | None = None
    score_tokens: int | None = None
    converter: str | os.PathLike[str] | None = None
    toolchain: str | os.PathLike[str] | None = None
    timeout: float | None = TIMEOUT
    parity: bool = True
    overwrite: bool = False

    def __post_init__(self) -> None:
        limits = (
            ("--prefill-tokens", self.prefill_tokens, MAX_TOKENS),
            ("--cache-length", self.cache_length, MAX_CACHE_LENGTH),
            ("--batch-size", (self.batch_size,), MAX_BATCH_SIZE),
            ("--score-tokens", (self.score_tokens,), MAX_TOKENS),
        )
        for option, values, most in limits:
            for value in values:
                if value is not None and not 1 <= value <= most:
                    raise ConfigError(
                        "{option} is {found}; it must lie between 1 and {most}.",
                        option=option,
                        found=value,
                        most=most,
                    )


@dataclasses.dataclass(frozen=True)
class ConversionReport:
    """What came of it: the bundle's folder, its manifest, bytes before, and the seconds it took.

    Attributes:
        copied: bytes of weights that the converter changed, so that they lie on disk a second time.
        unproved: why nobody compared the graphs with the reference; "" where that was done.
    """

    path: Path
    manifest: Manifest
    bytes_before: int
    copied: int
    unproved: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class LiteJob:
    """A checked request.

    Attributes:
        bundle: the source; of its files the weights, the tokenizer and the prefix are read, and
            no graph.
        graphs: what is to be made.
        options: how.
    """

    bundle: Bundle
    graphs: tuple[GraphEntry, ...]
    options: ConversionOptions

    @classmethod
    def open(cls, bundle: str | os.PathLike[str], options: ConversionOptions) -> LiteJob:
        """Open the bundle and see that it can be converted to these sizes.

        Raises:
            GlmliteError: of the kind that fits.
        """
        opened = Bundle.open(bundle)
        scheme = opened.manifest.weights.quantization
        index = read_index(opened.path / opened.manifest.weights.index)
        has_integers = any(entry["dtype"] in INTEGERS for entry in index.tensors.values())
        if scheme in SCHEMES or index.quantized or has_integers:
            raise ConfigError(
                "{path} is quantized ({scheme}); MindSpore Lite's converter has no operator for "
                "its integer weights.",
                hint="Convert the float bundle that it was made from. MindSpore Lite's own int8 is "
                "made from a MindIR bundle: glmlite quantize … --recipe lite_cpu_int8",
                path=str(opened.path),
                scheme=scheme,
            )
        return cls(opened, plan_graphs(opened.manifest, options), options)


def plan_graphs(manifest: Manifest, options: ConversionOptions) -> tuple[GraphEntry, ...]:
    """Every graph to make: for each cache length the prefill sizes, decode, and score.

    Raises:
        ConfigError: a chunk does not fit a cache beside the prefix.
    """
    source = manifest.graphs
    lengths = options.cache_length or tuple(graph.cache_length for graph in source)
    score = options.score_tokens
    if score is None:
        score = max((g.tokens for g in source if g.phase == "score"), default=0)
    room = min(lengths) - manifest.prefix_length
    prefill = set(options.prefill_tokens)
    prefill = prefill or {g.tokens for g in source if g.phase == "prefill" and g.tokens}
    prefill = prefill or {min(PREFILL_TOKENS, room)}
    chunk = max(*prefill, score, 1)
    if chunk > room:
        raise ConfigError(
            "A cache of {length} slots has no room for a chunk of {tokens} tokens; the prefix "
            "takes {prefix}.",
            hint="Name a longer cache or shorter chunks: --cache-length {needed}, or "
            "--prefill-tokens and --score-tokens {room}.",
            length=min(lengths),
            tokens=chunk,
            prefix=manifest.prefix_length,
            needed=chunk + manifest.prefix_length,
            room=max(room, 1),
        )
    phases = [("prefill", tokens) for tokens in sorted(prefill) if tokens > 1]
    phases += [("decode", 1)] + ([("score", score)] if score else [])
    inputs, outputs = names_of(manifest.model)
    batch = options.batch_size or source[0].batch_size

    def entry(phase: Any, tokens: int, length: int) -> GraphEntry:
        file = f"{phase}_t{tokens}_s{length}_b{batch}.mindir"
        return GraphEntry(phase, tokens, length, batch, "mindir", file, inputs, outputs)

    return tuple(
        entry(phase, tokens, length) for length in sorted(set(lengths)) for phase, tokens in phases
    )


def input_shapes(graph: GraphEntry, manifest: Manifest) -> dict[str, tuple[int, ...]]:
    """The fixed shape of each input of a graph."""
    model, batch = manifest.model, graph.batch_size
    cache = (batch, model.num_groups, graph.cache_length, model.head_dim)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(graph.inputs, cache)
    ids, position, valid = graph.inputs[:3]
    return shapes | {ids: (batch, graph.tokens), position: (batch,), valid: (batch,)}
