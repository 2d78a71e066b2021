"""A plan is judged by our view of the mesh; others may have heard sooner than we who came or went."""

from __future__ import annotations

from collections.abc import Callable

import trio

from protocols.errors import Refused

LOOKS = 4
LOOK_AGAIN_S = 0.25


async def patiently(judge: Callable[[], None]) -> None:
    """What our view refuses is looked at again, LOOKS times in all. Raises what the last look raises."""
    for _ in range(LOOKS - 1):
        try:
            judge()
        except Refused:
            await trio.sleep(LOOK_AGAIN_S)
        else:
            return
    judge()
