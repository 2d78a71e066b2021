"""The process's memory: what starting needed is given back, and what sessions needed does not pile up.

glibc gives every thread an allocator of its own (an arena, up to eight a core) and what is freed in one stays
with it. A node's few threads take turns under the interpreter's lock, so two arenas serve them as well, and
what one session freed the next one uses. Once in a while whole free pages go back to the system. Where the
C library is another one nothing is done.

Invariant: after its first sessions a node that does the same work over and over does not grow; measured by
`python -m tools.chaos soak`.
"""

from __future__ import annotations

import ctypes
import gc

import trio

M_ARENA_MAX = -8
"""glibc's malloc.h."""
ARENAS = 2
TRIM_S = 30.0


def share_arenas() -> None:
    """Have all threads share a few arenas; call before there are any."""
    try:
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)
    except (OSError, AttributeError):
        return


def settle() -> None:
    """Give back what importing and starting needed, once: phones count every megabyte."""
    gc.collect()
    gc.freeze()
    _trim()


async def keep_trim() -> None:
    """Give back free pages until cancelled."""
    while True:
        await trio.sleep(TRIM_S)
        await trio.to_thread.run_sync(_trim)


def _trim() -> None:
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return
