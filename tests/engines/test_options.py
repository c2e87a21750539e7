"""Options of engines that no machine, or not this one, can serve."""

from __future__ import annotations

import os

import pytest

from glmlite.errors import EngineError
from glmlite.runtime.engines import EngineOptions
from glmlite.runtime.engines.options import THREADS_PER_PROCESSOR


@pytest.mark.parametrize("threads", [0, -1, 100_000])
def test_threads_out_of_range(threads: int) -> None:
    with pytest.raises(EngineError, match=f"threads is {threads}; .* (least|most)"):
        EngineOptions(threads=threads)


def test_threads_up_to_the_limit() -> None:
    most = THREADS_PER_PROCESSOR * (os.cpu_count() or 1)
    assert EngineOptions(threads=most).threads == most
