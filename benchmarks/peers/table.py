"""The table of a comparison, in Markdown."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.peers.agreement import NEW, Agreement


@dataclasses.dataclass(frozen=True)
class Row:
    """One engine on one set of weights.

    Attributes:
        engine: with its version. weights: their format or recipe. bits: "int8" or "int4".
        file_bytes: of the weights. load_seconds: until it can be fed.
        prefill: tokens a second of the prompt. decode: tokens a second.
        decode_bytes: of weights that a token needs; None: the file's.
        peak_bytes: of the process. ours: whether this is glmlite.
        decode_growth: of a token's time from the shortest to the longest context, as a share.
        second_turn_share: of a cold start's time to the first token.
        bandwidth_share: weights read, of the bandwidth measured before and after in the same
            process; None: only between the runs.
    """

    engine: str
    weights: str
    bits: str
    file_bytes: int
    load_seconds: float
    prefill: float
    decode: float
    decode_bytes: int | None
    peak_bytes: int
    ours: bool
    decode_growth: float | None = None
    second_turn_share: float | None = None
    bandwidth_share: float | None = None


def best_peer(rows: Sequence[Row], bits: str, figure: Callable[[Row], float]) -> float:
    """The better peer's figure at that many bits."""
    return max(figure(row) for row in rows if row.bits == bits and not row.ours)


def print_markdown(
    rows: Sequence[Row], agreements: Sequence[Agreement], found: dict[str, Any]
) -> None:
    """Print the tables and what is needed to read them."""
    machine, speed = found["machine"], found["bandwidth"]["bytes_per_second"]
    print(
        f"{found['preset']} shapes, random weights; {machine['cpu']} "
        f"({', '.join(machine['features'])}), {found['threads']} threads. Read bandwidth "
        f"{speed / 1e9:.1f} GB/s (best of {len(found['bandwidth']['all'])} measurements between "
        f"the runs, the least {min(found['bandwidth']['all']) / 1e9:.1f}; glmlite measures it "
        "again around its own steps, and its share is of that).\n"
    )
    print(
        f"| | weights | load | prefill of {found['prompt_tokens']} tokens | decode at context "
        f"{found['decode_context']} | weights read | of the bandwidth | peak memory |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        read = (row.decode_bytes or row.file_bytes) * row.decode
        print(
            f"| {row.engine} | {row.weights}, {row.file_bytes / 1e9:.1f} GB "
            f"| {row.load_seconds:.1f} s | {_beside(rows, row, lambda r: r.prefill)} "
            f"| {_beside(rows, row, lambda r: r.decode)} | {read / 1e9:.1f} GB/s "
            f"| {row.bandwidth_share or read / speed:.0%} | {row.peak_bytes / 2**30:.1f} GiB |"
        )
    for row in rows:
        if row.ours and row.decode_growth is not None and row.second_turn_share is not None:
            print(
                f"\n{row.weights}: a token takes {row.decode_growth:+.0%} at the longest context; "
                f"a second turn's first token {row.second_turn_share:.1%} of a cold start's."
            )
    print("\nTiny model against the float32 reference, leading greedy ids that are equal:")
    for agreement in agreements:
        error = agreement.logits_error
        logits = "" if error is None else f", logits {error:.1e} off (relative, rms)"
        print(f"- {agreement.peer} {agreement.kind}: {agreement.equal_ids} of {NEW}{logits}")


def _beside(rows: Sequence[Row], row: Row, figure: Callable[[Row], float]) -> str:
    text = f"{figure(row):.2f} tok/s"
    if row.ours:
        text += f" (**{figure(row) / best_peer(rows, row.bits, figure):.2f}×**)"
    return text
