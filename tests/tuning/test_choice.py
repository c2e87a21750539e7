"""Which settings win, and what is tried at all."""

from __future__ import annotations

import dataclasses

import pytest

from glmlite.bench.report import Spread
from glmlite.errors import ConfigError
from glmlite.runtime.host import inspect_host
from glmlite.runtime.threads import default_threads
from glmlite.tuning import options
from glmlite.tuning.choice import Measurement, choose
from glmlite.tuning.options import DECODE_STEPS, TuneOptions, chunks_for


def measured(threads: int, prefill: float, decode: float) -> Measurement:
    return Measurement(threads, True, 512, 512, Spread.of([prefill]), Spread.of([decode]))


def test_the_length_of_the_answer_decides():
    reader, writer = measured(8, prefill=1.0, decode=0.2), measured(2, prefill=2.0, decode=0.1)
    assert choose(writer, [reader, writer], new_tokens=5) is reader
    assert choose(reader, [reader, writer], new_tokens=50) is writer


def test_noise_does_not_move_the_default():
    default = measured(2, 1.0, 0.1)
    assert choose(default, [measured(4, 0.99, 0.1)], new_tokens=1) is default
    faster = measured(4, 0.9, 0.09)
    assert choose(default, [faster], new_tokens=1) is faster


def test_threads_that_are_tried(monkeypatch):
    cores = inspect_host().cores
    assert TuneOptions(threads_up_to=1).thread_counts() == (1,)
    counts = TuneOptions().thread_counts()
    assert counts[0] <= max(1, default_threads() // 4)
    assert counts[-1] == max(cores, default_threads())
    assert default_threads() in counts
    with monkeypatch.context() as patch:
        patch.setattr(options, "default_threads", lambda: 48)
        patch.setattr(
            options, "inspect_host", lambda: dataclasses.replace(inspect_host(), cores=96)
        )
        assert TuneOptions().thread_counts() == (8, 16, 32, 48, 64, 96)
        assert TuneOptions(threads_up_to=2).thread_counts() == (1, 2)
    with pytest.raises(ConfigError, match="logical processors"):
        TuneOptions(threads_up_to=cores + 1)


def test_chunks_longer_than_the_prompt_are_all_the_same():
    assert chunks_for(512) == (32, 64, 128, 512, 256)
    assert chunks_for(2000) == (32, 64, 128, 512, 256)
    assert chunks_for(100) == (32, 64, 256)
    assert chunks_for(1) == (256,)


def test_the_prompt_fits_the_cache():
    assert TuneOptions().prompt_for(2048) == 512
    assert TuneOptions().prompt_for(100) == 50
    assert TuneOptions(prompt_tokens=100 - DECODE_STEPS).prompt_for(100) == 100 - DECODE_STEPS
    with pytest.raises(ConfigError, match="has room for 84"):
        TuneOptions(prompt_tokens=85).prompt_for(100)
    with pytest.raises(ConfigError):
        TuneOptions().prompt_for(DECODE_STEPS)


@pytest.mark.parametrize("name", ["threads_up_to", "prompt_tokens", "new_tokens", "repeats"])
def test_numbers_are_positive(name):
    with pytest.raises(ConfigError, match=name):
        TuneOptions(**{name: 0})
