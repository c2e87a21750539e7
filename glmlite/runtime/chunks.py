"""Which chunk sizes carry a run of tokens through the engine at the least cost."""

from __future__ import annotations

from collections.abc import Sequence

# A call costs about as much as this many rows: below that, reading the weights dominates.
CALL_COST_ROWS = 32
# Longest piece for an engine without static shapes, unless told; bounds its activations.
LARGEST_DYNAMIC_CHUNK = 256


def plan_chunks(
    count: int, sizes: Sequence[int], dynamic: int = LARGEST_DYNAMIC_CHUNK
) -> list[tuple[int, int]]:
    """Tile `count` tokens with chunks of the given sizes.

    Args:
        count: tokens to feed, 0 or more.
        sizes: the T that the engine has, ascending; `(0,)` stands for any.
        dynamic: the longest chunk where any T will do.

    Returns:
        (T, valid) of each call, in order; the valid counts sum up to `count`. Of all tilings this
        has the least calls * `CALL_COST_ROWS` + rows; only the last chunk is padded.
    """
    if sizes[0] == 0:
        lengths = [min(dynamic, count - start) for start in range(0, count, dynamic)]
        return [(length, length) for length in lengths]
    plan = []
    for size in sorted(_cheapest(count, sizes), reverse=True):
        plan.append((size, min(size, count)))
        count -= size
    return plan


def _cheapest(count: int, sizes: Sequence[int]) -> list[int]:
    """The multiset of sizes that covers `count` rows at the least cost.

    No size in it can be left out, so the excess is smaller than each and fits into the last chunk.
    """
    cost = [0] * (count + 1)
    choice = [0] * (count + 1)
    for rows in range(1, count + 1):
        cost[rows], choice[rows] = min(
            (cost[max(rows - size, 0)] + CALL_COST_ROWS + size, -size) for size in sizes
        )
    chosen = []
    while count > 0:
        chosen.append(-choice[count])
        count += choice[count]
    return chosen
