"""Progress of long work: bars on a terminal, one plain line per stage elsewhere; on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from glmlite.cli.formatting import format_bytes, printable
from glmlite.progress import NoProgress

if TYPE_CHECKING:
    import rich.progress

    from glmlite.progress import Progress


class PlainProgress:
    """Writes one line when a stage begins, with the seconds since the start."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._start = time.monotonic()

    def stage(self, title: str, total: float | None = None, unit: str = "") -> None:
        """See `glmlite.progress.Progress.stage`."""
        seconds = time.monotonic() - self._start
        # One of one says nothing, and would need another word than several.
        size = f" ({format_amount(total, unit)})" if unit and total and total != 1 else ""
        self._stream.write(f"[{seconds:7.1f} s] {printable(title)}{size}\n")
        self._stream.flush()

    def advance(self, amount: float = 1.0) -> None:
        """See `glmlite.progress.Progress.advance`."""

    def done(self) -> None:
        """See `glmlite.progress.Progress.done`."""

    def abandon(self) -> None:
        """Nothing is to be closed."""


class BarProgress:
    """One bar per stage: title, share, amount, elapsed and remaining time."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bars = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[amount]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
        )
        self._task: rich.progress.TaskID | None = None
        self._unit = ""
        self._bars.start()

    def stage(self, title: str, total: float | None = None, unit: str = "") -> None:
        """See `glmlite.progress.Progress.stage`."""
        self._finish()
        self._unit = unit
        self._task = self._bars.add_task(printable(title), total=total, amount="")

    def advance(self, amount: float = 1.0) -> None:
        """See `glmlite.progress.Progress.advance`."""
        if self._task is None:
            return
        self._bars.advance(self._task, amount)
        task = self._bars.tasks[self._task]
        text = format_amount(task.completed, self._unit, task.total)
        self._bars.update(self._task, amount=text)

    def done(self) -> None:
        """See `glmlite.progress.Progress.done`."""
        self._finish()
        self._bars.stop()

    def abandon(self) -> None:
        """Stop drawing; the current stage stays as far as it came."""
        self._bars.stop()

    def _finish(self) -> None:
        if self._task is None:
            return
        task = self._bars.tasks[self._task]
        # A stage of unknown length, or one that overestimated itself, is over all the same.
        self._bars.update(self._task, total=task.total or 1.0, completed=task.total or 1.0)
        self._bars.stop_task(self._task)
        self._task = None


def format_amount(amount: float, unit: str, total: float | None = None) -> str:
    """`amount` (of `total`) in words: "1.5 GiB / 2.9 GiB", "3/28 layers"."""
    if unit in ("B", "bytes"):
        done = format_bytes(amount)
        return f"{done} / {format_bytes(total)}" if total else done
    done = f"{amount:g}/{total:g}" if total else f"{amount:g}"
    return f"{done} {unit}".rstrip()


class _Nothing(NoProgress):
    """What a display becomes that has failed."""

    def abandon(self) -> None:
        """Nothing is drawn."""


class _Decoration:
    """A display that no work depends on: when it fails, it disappears."""

    def __init__(self) -> None:
        self._display: PlainProgress | BarProgress | _Nothing = _Nothing()
        with self._harmless():
            self._display = BarProgress() if sys.stderr.isatty() else PlainProgress()

    def stage(self, title: str, total: float | None = None, unit: str = "") -> None:
        """See `glmlite.progress.Progress.stage`."""
        with self._harmless():
            self._display.stage(title, total, unit)

    def advance(self, amount: float = 1.0) -> None:
        """See `glmlite.progress.Progress.advance`."""
        with self._harmless():
            self._display.advance(amount)

    def done(self) -> None:
        """See `glmlite.progress.Progress.done`."""
        with self._harmless():
            self._display.done()

    def abandon(self) -> None:
        """Stop drawing; the current stage stays as far as it came."""
        with self._harmless():
            self._display.abandon()

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            broken, self._display = self._display, _Nothing()
            # Bars hold the streams and the cursor.
            with contextlib.suppress(Exception):
                broken.abandon()


@contextlib.contextmanager
def show_progress() -> Iterator[Progress]:
    """The progress display that fits stderr; closed properly whatever happens inside."""
    display = _Decoration()
    try:
        yield display
    except BaseException:
        display.abandon()
        raise
    display.done()
