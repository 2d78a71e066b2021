"""Threads for long arithmetic in a process that was forked from one that had used them."""

from __future__ import annotations

import os
import select

import trio

from mesh.runtime import background


def answer_of_a_child() -> bytes:
    """What a forked child gets from its background threads; empty if it waits for ever."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, str(trio.run(background.run, sum, (20, 22))).encode())
        os._exit(0)
    os.close(writer)
    ready, _, _ = select.select([reader], [], [], 20)
    found = os.read(reader, 16) if ready else b""
    os.kill(child, 9)
    os.waitpid(child, 0)
    os.close(reader)
    return found


def test_a_forked_process_has_threads_of_its_own() -> None:
    async def use_both() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(background.THREADS):
                nursery.start_soon(background.run, sum, (1, 2))

    trio.run(use_both)
    assert answer_of_a_child() == b"42"
