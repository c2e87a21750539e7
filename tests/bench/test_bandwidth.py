"""The read bandwidth is measured, in a process of its own."""

from __future__ import annotations

import pytest

from glmlite.bench.bandwidth import Bandwidth, faster, measure_bandwidth, stream

BUFFER = 8 << 20


@pytest.mark.parametrize("threads", [1, 2])
def test_every_byte_counts_once_a_pass(threads):
    found = stream(threads, BUFFER, passes=2)
    assert found.threads == threads
    assert found.buffer_bytes == BUFFER
    assert found.bytes_per_second >= found.median > 0


def test_a_child_process_measures_and_tells():
    found = measure_bandwidth(1, BUFFER, passes=1)
    assert found.bytes_per_second > 0
    assert found.buffer_bytes <= BUFFER
    assert found.method in ("int8 maximum", "matrix times vector")


def test_the_better_of_two_measurements_is_kept():
    slow, fast = (Bandwidth(speed, speed, 2, BUFFER, 1, "int8 maximum") for speed in (1e9, 2e9))
    assert faster(slow, fast) is faster(fast, slow) is fast
