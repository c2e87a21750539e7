"""The toolchain's process: what happens when it, or its parent, is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import glmlite
from glmlite.errors import EngineError, WorkerDiedError
from glmlite.runtime.engines.process import WorkerProcess
from tests.engines.bundles import Bundles
from tests.engines.driving import FP32, decode, prefill

pytestmark = pytest.mark.timeout(120)


def _is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _children() -> set[int]:
    """Processes that this one started and that still run."""
    text = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()
    return {int(pid) for pid in text.split()}


def _kill_while_it_answers(pid: int) -> threading.Thread:
    """Stop the process now, so that it cannot answer, and kill it a little later."""
    os.kill(pid, signal.SIGSTOP)
    thread = threading.Thread(target=lambda: (time.sleep(0.3), os.kill(pid, signal.SIGKILL)))
    thread.start()
    return thread


def test_the_end_of_the_log_is_in_the_message(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\necho "a word before the end" >&2\nexec "{sys.executable}" "$@"\n'
    )
    python.chmod(0o755)
    worker = WorkerProcess(python)
    try:
        reply, _ = worker.request({"request": "probe"})
        assert reply["packages"]["numpy"]
        killer = _kill_while_it_answers(worker.pid)
        with pytest.raises(WorkerDiedError) as caught:
            worker.request({"request": "probe"})
        killer.join()
        assert "SIGKILL" in str(caught.value)
        assert "a word before the end" in str(caught.value)
        with pytest.raises(WorkerDiedError):
            worker.request({"request": "probe"})
    finally:
        worker.close()
    worker.close()
    assert not _is_running(worker.pid)


def test_nothing_a_library_prints_reaches_the_protocol(tmp_path: Path) -> None:
    """What is written on descriptor 1 goes to the log."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c "'
        "import os, runpy, sys; sys.argv = sys.argv[1:]; real = os.dup2\n"
        "def dup2(a, b, *rest):\n"
        "    real(a, b, *rest)\n"
        "    if b == 1: os.write(1, b'CONVERT RESULT SUCCESS:0')\n"
        "os.dup2 = dup2\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
        '" "$@"\n'
    )
    python.chmod(0o755)
    worker = WorkerProcess(python)
    try:
        reply, _ = worker.request({"request": "probe"})
        assert reply["packages"]["numpy"]
        assert "CONVERT RESULT SUCCESS:0" in worker.log_tail()
    finally:
        worker.close()


@pytest.mark.parametrize("engine", ["mindspore", "lite"])
def test_killed_in_the_middle_of_an_answer(bundles: Bundles, toolchain: str, engine: str) -> None:
    case = bundles.subject("one_group").cases[0]
    before = _children()
    with glmlite.load(bundles.export("one_group"), engine, toolchain=toolchain) as model:
        (worker,) = _children() - before
        session = model.session()
        pieces = model.generate(case.prompt, session=session, max_new_tokens=24)
        tokens = [next(pieces).token for _ in range(5)]
        killer = _kill_while_it_answers(worker)
        with pytest.raises(WorkerDiedError) as caught:
            tokens.extend(piece.token for piece in pieces)
        killer.join()
        assert tokens == case.greedy_ids[: len(tokens)]
        assert 5 <= len(tokens) <= 6
        assert "SIGKILL" in str(caught.value)
        assert session.tokens == case.ids[: len(session.tokens)]
        with pytest.raises(EngineError):
            session.feed([5])
    assert not _is_running(worker)


def test_another_engine_goes_on(bundles: Bundles, toolchain: str) -> None:
    """Workers are separate: one that dies takes nothing with it."""
    path, case = bundles.export("one_group"), bundles.subject("one_group").cases[0]
    with bundles.open(path, "mindspore_worker") as one:
        before = _children()
        with bundles.open(path, "mindspore_worker") as two:
            cache = one.new_cache()
            first = prefill(one, cache, case, 7, FP32)
            (worker,) = _children() - before
            os.kill(worker, signal.SIGKILL)
            with pytest.raises(WorkerDiedError):
                two.new_cache()
            assert decode(one, cache, case, first, FP32) == case.greedy_ids


def test_the_worker_ends_with_its_parent() -> None:
    script = (
        "import sys, time\n"
        "from glmlite.runtime.engines.process import WorkerProcess\n"
        "worker = WorkerProcess()\n"
        "worker.request({'request': 'probe'})\n"
        "print(worker.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert _is_running(worker)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 20
    while _is_running(worker) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _is_running(worker)


def test_a_refused_step_is_no_death(bundles: Bundles, toolchain: str) -> None:
    """An error in a step is an answer; the worker and the cache go on."""
    case = bundles.subject("one_group").cases[0]
    with bundles.open(bundles.export("one_group"), "lite_worker") as engine:
        cache = engine.new_cache()
        first = prefill(engine, cache, case, 7, FP32)
        for ids, valid in (([[1, 2, 3]], 3), ([[99999]], 1), ([[1]], 2)):
            with pytest.raises(EngineError):
                engine.step(
                    np.array(ids, np.int32),
                    np.zeros(1, np.int32),
                    np.array([valid], np.int32),
                    cache,
                )
        assert decode(engine, cache, case, first, FP32) == case.greedy_ids
