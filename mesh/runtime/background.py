"""Long arithmetic in threads that give way: masking, adding and unmasking vectors, reading rows, training.

The event loop answers heartbeats and votes while these run, also on a device of one core: on Linux the
threads have a lower priority than the loop (nice is each thread's own), so that the kernel lets the loop go
first whenever it has something to do. They are threads of their own, since a priority cannot be raised
again and trio's are shared with the journal, whose commits votes wait for.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import trio

THREADS = 2
NICE = 10
SWITCH_S = 0.001
"""How long Python code in a thread may keep the interpreter from the loop; 5 ms are usual."""

T = TypeVar("T")


def _give_way() -> None:
    sys.setswitchinterval(SWITCH_S)
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


_threads = ThreadPoolExecutor(THREADS, "background", _give_way)


def _begin_anew() -> None:
    """A fork copies the pool's books but none of its threads: it would wait for them for ever."""
    global _threads
    _threads = ThreadPoolExecutor(THREADS, "background", _give_way)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)

_turns = trio.CapacityLimiter(THREADS)
"""Trio's own threads, of which the journal needs one, do not wait for long arithmetic of others."""


async def run(function: Callable[..., T], *arguments: object) -> T:
    """What `function` returns; it runs in a background thread."""
    return await trio.to_thread.run_sync(_wait, function, arguments, limiter=_turns)


def _wait(function: Callable[..., T], arguments: tuple[object, ...]) -> T:
    return _threads.submit(function, *arguments).result()
