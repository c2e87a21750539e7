"""Ctrl-C during what must not be cut in the middle."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def interrupt_deferred(insistent: bool = True) -> Iterator[None]:
    """Hold Ctrl-C back until the block is done, so that nothing is cut; a second comes through.

    Compiled packages are to be imported so: a KeyboardInterrupt inside becomes an ImportError.

    Args:
        insistent: whether a second comes through; False only for what takes moments and would be
            lost.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = False

    def hold(signum: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed and insistent:
            raise KeyboardInterrupt
        pressed = True

    previous = signal.signal(signal.SIGINT, hold)
    try:
        yield
    except ImportError:
        if pressed:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, previous)
    if pressed:
        raise KeyboardInterrupt
