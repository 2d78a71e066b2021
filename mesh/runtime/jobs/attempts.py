"""How often a job begins a session before it gives up, and its pauses between.

A plan of an epoch that is over is refused at once. Whoever made it hears of the new epoch soon, but not
always within the first pause, so each is longer than the one before.
"""

from __future__ import annotations

from typing import Final

PAUSES_S: Final = (0.3, 1.0, 3.0)
ATTEMPTS: Final = 1 + len(PAUSES_S)


def pause_s(attempt: int) -> float:
    """Seconds to wait after attempt number `attempt`, from 1 to ATTEMPTS - 1, has failed."""
    return PAUSES_S[attempt - 1]
