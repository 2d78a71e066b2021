"""Ctrl-C while modules load.

An exception in the middle of an import may get lost: raised in a callback of the import system it is printed
and ignored, some modules swallow it (`except:`), and in a class body it comes out as another. So the word is
kept until all is loaded, which takes a second at most.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def kept() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end, if it was meant to be raised within.

    Not where somebody else handles the signal, nor outside the main thread.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    seen = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal seen
        seen = True

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if seen:
            raise KeyboardInterrupt
