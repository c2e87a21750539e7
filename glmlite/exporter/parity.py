"""The proof that exported graphs compute what the reference computes.

Each graph runs through the engine itself: prefill in chunks (the last one padded, rows of a batch
at different positions), then ten consecutive decode steps, so that a cache that is right for one
step and wrong for the next shows. The reference streams the checkpoint's own weights, layer by
layer, in one pass for all of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from glmlite.bundle.manifest import GraphEntry, ParityEntry
from glmlite.errors import ParityError
from glmlite.model.config import ModelConfig
from glmlite.runtime.engines.base import Engine, Float32Array, Int32Array

DECODE_STEPS = 10
_SEED = 20230625


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """What counts as equal.

    Attributes:
        max_abs: largest difference of a logit.
        top1: smallest share of rows with the same top-1 token.
        tie: rows that the reference decides by less than this are left out of that share.
    """

    max_abs: float
    top1: float
    tie: float


TOLERANCES = {"float32": Tolerance(2e-3, 0.99, 1e-3), "float16": Tolerance(5e-2, 0.99, 1e-2)}


@dataclasses.dataclass
class Difference:
    """Running comparison of one graph's logits with the reference's."""

    steps: int = 0
    max_abs: float = 0.0
    worst_step: int = 0
    cosine: float = 1.0
    rows: int = 0
    agreeing: int = 0
    decided: int = 0
    decided_alike: int = 0

    def add(self, logits: Float32Array, expected: Float32Array, tie: float) -> None:
        """Compare rows [N, V] of one step; see `Tolerance.tie`."""
        self.steps += 1
        difference = float(np.abs(logits - expected).max())
        if not np.isfinite(difference):
            self.max_abs, self.worst_step, self.cosine = np.inf, self.steps, -1.0
            return
        if difference > self.max_abs:
            self.max_abs, self.worst_step = difference, self.steps
        norms = np.linalg.norm(logits, axis=-1) * np.linalg.norm(expected, axis=-1)
        cosines = (logits * expected).sum(axis=-1) / np.maximum(norms, 1e-30)
        self.cosine = min(self.cosine, float(cosines.min()))
        top_two = np.partition(expected, -2, axis=-1)[..., -2:]
        decided = top_two[..., 1] - top_two[..., 0] > tie
        same = logits.argmax(axis=-1) == expected.argmax(axis=-1)
        self.rows += same.size
        self.agreeing += int(same.sum())
        self.decided += int(decided.sum())
        self.decided_alike += int((decided & same).sum())

    @property
    def top1(self) -> float:
        """Share of rows whose largest logit is the same token."""
        return self.agreeing / self.rows if self.rows else 1.0

    @property
    def decided_top1(self) -> float:
        """The same, of the rows that the reference decides."""
        return self.decided_alike / self.decided if self.decided else 1.0


def prompt_lengths(tokens: int, batch: int, room: int) -> list[int]:
    """Prompt lengths of each row: a full chunk and a part of the next, no two rows alike."""
    longest = max(1, min(tokens + max(1, tokens // 2), room - DECODE_STEPS))
    return [max(1, longest - row) for row in range(batch)]


def parity_sequences(
    config: ModelConfig, graphs: Sequence[GraphEntry], prefix_length: int
) -> list[Int32Array]:
    """Seeded random ids for every row, long enough for every graph; int32 [len] each."""
    generator = np.random.default_rng(_SEED)
    batch = graphs[0].batch_size
    longest = max(
        max(prompt_lengths(g.tokens, batch, g.cache_length - prefix_length)) for g in graphs
    )
    room = max(g.cache_length for g in graphs) - prefix_length
    length = min(longest + DECODE_STEPS, room)
    ids = generator.integers(0, config.vocab_size, size=(batch, length), dtype=np.int32)
    return list(ids)


def chunks_of(
    lengths: Sequence[int], tokens: int, sequences: Sequence[Int32Array]
) -> Iterator[tuple[Int32Array, Int32Array, Int32Array]]:
    """Tile ragged prompts: (input_ids [B,T], position [B], valid_length [B]) for each chunk."""
    batch = len(lengths)
    position = np.zeros(batch, np.int32)
    total = np.asarray(lengths, np.int32)
    while (position < total).any():
        valid = np.minimum(total - position, tokens).astype(np.int32)
        ids = np.zeros((batch, tokens), np.int32)
        for row in range(batch):
            at = int(position[row])
            ids[row, : valid[row]] = sequences[row][at : at + int(valid[row])]
        yield ids, position.copy(), valid
        position += valid


def compare_graphs(
    engine: Engine,
    graphs: Sequence[GraphEntry],
    sequences: Sequence[Int32Array],
    expected: Sequence[Float32Array],
    prefix_length: int,
    tie: float,
) -> dict[str, Difference]:
    """Run the graphs of one cache length through an engine that has no others.

    Args:
        engine: made of exactly these graphs.
        graphs: all of one cache length; without a decode graph, prompts are all that is compared.
        sequences: `parity_sequences`.
        expected: the reference's logits of them, [len, V] each.
        prefix_length: P.
        tie: see `Tolerance.tie`.

    Returns:
        Graph file -> how far it lies from the reference.
    """
    differences = {g.file: Difference() for g in graphs}
    decode = next((g for g in graphs if g.phase != "score" and g.tokens == 1), None)
    for graph in graphs:
        room = graph.cache_length - prefix_length
        lengths = prompt_lengths(graph.tokens, graph.batch_size, room)
        cache = engine.new_cache()
        run = engine.score if graph.phase == "score" else engine.step
        for ids, position, valid in chunks_of(lengths, graph.tokens, sequences):
            logits = run(ids, position, valid, cache)
            for row in np.flatnonzero(valid).tolist():
                first, count = int(position[row]), int(valid[row])
                if graph.phase == "score":
                    got, wanted = logits[row, :count], expected[row][first : first + count]
                else:
                    last = first + count - 1
                    got, wanted = logits[row : row + 1], expected[row][last : last + 1]
                differences[graph.file].add(got, wanted, tie)
        if decode is None:
            continue
        position = np.asarray(lengths, np.int32)
        ones = np.ones_like(position)
        for _ in range(min(DECODE_STEPS, room - max(lengths))):
            ids = np.array([[s[p]] for s, p in zip(sequences, position, strict=True)], np.int32)
            logits = engine.step(ids, position, ones, cache)
            wanted = np.stack([e[p] for e, p in zip(expected, position, strict=True)])
            differences[decode.file].add(logits, wanted, tie)
            position = position + ones
    return differences


def check(
    graph: str,
    engine: str,
    difference: Difference,
    tolerance: Tolerance,
    *,
    made_by: Literal["mindspore", "glmlite", "lite"] = "mindspore",
) -> None:
    """Refuse a graph that differs.

    Args:
        graph: its file.
        engine: what ran it, with its version.
        difference: what was found.
        tolerance: what is allowed.
        made_by: what wrote the graph: MindSpore, our ONNX emitter, or Lite's converter.

    Raises:
        ParityError: says which graph, which step, and how far.
    """
    if difference.max_abs <= tolerance.max_abs and difference.decided_top1 >= tolerance.top1:
        return
    raise ParityError(
        "Parity failed: {graph} on {engine} differs from the reference by {found:.3g} at step "
        "{step} (allowed: {allowed:.3g}); top-1 agreement {top1:.1%}. Nothing was kept.",
        hint="`glmlite doctor` shows the versions; export with another one (--toolchain PATH), or "
        "in float32 (--set model.dtype=float32)."
        if made_by == "mindspore"
        else "Try the converter of another MindSpore Lite: --toolchain PYTHON, or --converter DIR"
        if made_by == "lite"
        else "Try another ONNX Runtime (pip install -U onnxruntime), or the other flavor "
        "(--set export.flavor=ort|standard).",
        graph=graph,
        engine=engine,
        found=difference.max_abs,
        step=difference.worst_step,
        allowed=tolerance.max_abs,
        top1=difference.decided_top1,
    )


def to_entry(graph: str, engine: str, difference: Difference, layers: int) -> ParityEntry:
    """The manifest's record of a comparison."""
    return ParityEntry(
        graph=graph,
        engine=engine,
        steps=difference.steps,
        max_abs=difference.max_abs,
        cosine=difference.cosine,
        top1=difference.top1,
        layers=layers,
    )
