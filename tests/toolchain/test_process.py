"""A worker process: requests, errors, death, Ctrl-C, and interpreters that cannot serve."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from pathlib import Path

import pytest

from glmlite.errors import EngineError, WorkerDiedError
from glmlite.runtime.engines.interpreter import find_toolchain, probe_interpreter
from glmlite.runtime.engines.process import WorkerProcess


def _press_ctrl_c(delay: float) -> None:
    """What a terminal does, in a moment."""
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(delay, signal.pthread_kill, (main, signal.SIGINT)).start()


@pytest.fixture
def worker():
    """A worker in this interpreter."""
    process = WorkerProcess()
    yield process
    process.close()


def test_probe_through_a_worker_and_directly_agree(worker: WorkerProcess) -> None:
    reply, _ = worker.request({"request": "probe"})
    found = find_toolchain()
    assert reply["packages"] == found.packages
    assert found.is_current


def test_an_error_is_an_answer_and_the_worker_lives_on(worker: WorkerProcess) -> None:
    for header in ({"request": "no such"}, {"request": "step", "cache": 1}, {}):
        with pytest.raises(EngineError):
            worker.request(header)
    worker.request({"request": "probe"})


def test_a_killed_worker_says_so_with_its_log(worker: WorkerProcess) -> None:
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError, match="ended") as caught:
        worker.request({"request": "probe"})
    assert "SIGKILL" in str(caught.value)
    assert "end of its log" in str(caught.value)


def test_ctrl_c_waits_for_the_answer(worker: WorkerProcess) -> None:
    worker.request({"request": "probe"})
    os.kill(worker.pid, signal.SIGSTOP)
    _press_ctrl_c(0.2)
    threading.Timer(0.5, os.kill, (worker.pid, signal.SIGCONT)).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        worker.request({"request": "probe"})
    assert time.monotonic() - started >= 0.4
    worker.request({"request": "probe"})  # the frames are still in step


def test_an_impatient_second_ctrl_c_ends_the_worker(worker: WorkerProcess) -> None:
    worker.request({"request": "probe"})
    os.kill(worker.pid, signal.SIGSTOP)
    for delay in (0.2, 0.4):
        _press_ctrl_c(delay)
    with pytest.raises(KeyboardInterrupt):
        worker.request({"request": "probe"})
    with pytest.raises(WorkerDiedError):
        worker.request({"request": "probe"})


def test_a_worker_outlives_the_thread_that_started_it() -> None:
    started: list[WorkerProcess] = []
    thread = threading.Thread(target=lambda: started.append(WorkerProcess()))
    thread.start()
    thread.join()
    time.sleep(0.3)
    try:
        assert started[0].request({"request": "probe"})[0]["python"]
    finally:
        started[0].close()


def test_the_parents_python_settings_do_not_reach_the_worker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('a package of another Python')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = WorkerProcess()
    try:
        assert process.request({"request": "probe"})[0]["packages"]["numpy"]
    finally:
        process.close()


@pytest.mark.parametrize("content", [None, "", "#!/bin/sh\nexit 3\n", "#!/bin/sh\necho hello\n"])
def test_what_is_no_interpreter_is_refused(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "python"
    if content is not None:
        path.write_text(content)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(EngineError, match="cannot serve as a toolchain"):
        probe_interpreter(str(path))


def test_the_toolchain_is_probed(toolchain: str) -> None:
    found = find_toolchain(toolchain)
    assert (found.mindspore, found.lite) == ("2.0.0", "2.0.0")
    assert not found.is_current
