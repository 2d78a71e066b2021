"""How often a job begins a session before it gives up, and its pauses between.

A plan of an epoch that is over is refused at once. Whoever made it hears of the new epoch soon, but not
always within the first pause, so each is twice as long as the one before: 4.5 s in all.
"""

from __future__ import annotations

from typing import Final

ATTEMPTS: Final = 5
PAUSE_S: Final = 0.3


def pause_s(attempt: int) -> float:
    """Seconds to wait after attempt number `attempt`, from 1, has failed."""
    return PAUSE_S * 2.0 ** (attempt - 1)
