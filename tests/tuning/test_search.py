"""What `tune` chooses, with real engines and invented times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from glmlite.bench.report import Spread
from glmlite.tuning import run
from glmlite.tuning.options import TuneOptions
from tests.engines.bundles import FORMATS, Bundles

pytest.importorskip("onnxruntime")

# (threads, spinning, chunk) -> seconds for the prompt, and for a step after it.
Times = Callable[[int, bool, int], tuple[float, float]]
USUAL = 2


@pytest.fixture
def tune(bundles: Bundles, monkeypatch: pytest.MonkeyPatch) -> Callable[..., run.TuneReport]:
    """Tunes as if prompts and steps took what a function says, on a machine of two cores."""
    bundle = bundles.export("prefix_wide", **FORMATS["onnx"], export__cache_length=1024)

    def tuned(times: Times, new_tokens: int = 100) -> run.TuneReport:
        opened: dict[int, tuple[int, bool]] = {}
        real = run.open_onnx

        def open_onnx(bundle: Any, options: Any, settings: Any) -> Any:
            engine = real(bundle, options, settings)
            opened[id(engine)] = (options.threads, settings.spinning)
            return engine

        class Watch:
            def __init__(self, engine: Any, prompt: int, advance: Callable[[], None]) -> None:
                self._key = opened[id(engine)]

            def warm_up(self, chunk: int) -> None:
                pass

            def prefill(self, chunks: Sequence[int], repeats: int) -> list[Spread]:
                return [Spread.of([times(*self._key, chunk)[0]] * repeats) for chunk in chunks]

            def decode(self, repeats: int) -> Spread:
                return Spread.of([times(*self._key, 0)[1]] * repeats)

        with monkeypatch.context() as patch:
            patch.setattr(run, "open_onnx", open_onnx)
            patch.setattr(run, "Stopwatch", Watch)
            patch.setattr(run, "default_threads", lambda: USUAL)
            patch.setattr(TuneOptions, "thread_counts", lambda self: (1, 2, 4))
            return run.run_tune(bundle, TuneOptions(new_tokens=new_tokens, repeats=1), dry_run=True)

    return tuned


def chosen(report: run.TuneReport) -> tuple[int, bool, int]:
    settings = report.settings
    assert report.best in report.measurements
    return settings.threads, settings.spinning, settings.prefill_chunk


def test_what_runs_untuned_stays_where_nothing_is_clearly_faster(tune: Any) -> None:
    def times(threads: int, spinning: bool, chunk: int) -> tuple[float, float]:
        odd = (threads != USUAL) + (not spinning) + (chunk not in (0, 256))
        return 1 - 0.02 * odd, 0.01  # faster, by less than noise

    report = tune(times)
    assert chosen(report) == (USUAL, True, 256)
    assert report.default.threads == USUAL
    # Three engines spinning, one asleep, and all chunks side by side.
    assert len(report.measurements) == 3 + 1 + 5


@pytest.mark.parametrize("best", [1, 2, 4])
def test_the_fastest_number_of_threads(tune: Any, best: int) -> None:
    report = tune(lambda threads, _spinning, _chunk: (1, 0.01 if threads == best else 0.02))
    assert chosen(report) == (best, True, 256)


@pytest.mark.parametrize(("new_tokens", "best"), [(1, 4), (1000, 1)])
def test_the_answer_s_length_decides(tune: Any, new_tokens: int, best: int) -> None:
    """Here, more threads prefill faster and decode slower."""
    report = tune(lambda threads, _spinning, _chunk: (1 / threads, 0.01 * threads), new_tokens)
    assert chosen(report)[0] == best


@pytest.mark.parametrize(("asleep", "spinning"), [(0.9, False), (1.1, True)])
def test_spinning(tune: Any, asleep: float, spinning: bool) -> None:
    report = tune(lambda _threads, spins, _chunk: (1, 0.01 if spins else 0.01 * asleep))
    assert chosen(report) == (USUAL, spinning, 256)


def test_a_single_thread_is_not_tried_asleep(tune: Any) -> None:
    report = tune(lambda threads, spins, _chunk: (1, 0.01 * threads * (1 if spins else 0.1)))
    assert chosen(report) == (1, True, 256)


@pytest.mark.parametrize("best", [32, 64, 128, 256, 512])
def test_the_fastest_chunk(tune: Any, best: int) -> None:
    """Of two threads asleep, so that what was chosen before is kept."""

    def times(threads: int, spinning: bool, chunk: int) -> tuple[float, float]:
        factor = 1 if threads == USUAL and not spinning else 2
        return factor * (0.8 if chunk == best else 1), factor * 0.01

    report = tune(times, new_tokens=10_000)
    assert chosen(report) == (USUAL, False, best)
    rate = report.settings.prefill_tokens_per_second
    assert rate == pytest.approx(report.best.prompt_tokens / 0.8)
