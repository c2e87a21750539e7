"""Tilings: valid, and the cheapest there is."""

from __future__ import annotations

import itertools

import pytest

from glmlite.runtime.chunks import CALL_COST_ROWS, LARGEST_DYNAMIC_CHUNK, plan_chunks


def cost(sizes):
    return sum(CALL_COST_ROWS + size for size in sizes)


@pytest.mark.parametrize("sizes", [(1,), (1, 7), (1, 32, 256), (16,), (5, 8), (1, 2, 64)])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 31, 33, 64, 65, 255, 257, 300, 1000])
def test_covers_every_token_once(sizes, count):
    plan = plan_chunks(count, sizes)
    assert sum(valid for _, valid in plan) == count
    assert all(size in sizes and 0 < valid <= size for size, valid in plan)
    assert all(size == valid for size, valid in plan[:-1])


@pytest.mark.parametrize("sizes", [(1, 7), (4, 6), (1, 8, 32), (3, 40)])
def test_no_tiling_is_cheaper(sizes):
    for count in range(1, 60):
        most = -(-count // sizes[0])
        best = min(
            cost(tiling)
            for calls in range(1, min(most, 16) + 1)
            for tiling in itertools.combinations_with_replacement(sizes, calls)
            if sum(tiling) >= count
        )
        assert cost(size for size, _ in plan_chunks(count, sizes)) <= best


def test_known_choices():
    assert plan_chunks(1, (1, 32, 256)) == [(1, 1)]
    assert plan_chunks(5, (1, 32, 256)) == [(32, 5)]
    assert plan_chunks(33, (1, 32, 256)) == [(32, 32), (1, 1)]
    assert plan_chunks(200, (1, 32, 256)) == [(256, 200)]
    assert plan_chunks(300, (1, 32, 256)) == [(256, 256), (32, 32), (32, 12)]


def test_any_size():
    assert plan_chunks(9, (0,)) == [(9, 9)]
    assert plan_chunks(LARGEST_DYNAMIC_CHUNK + 1, (0,)) == [(LARGEST_DYNAMIC_CHUNK,) * 2, (1, 1)]
