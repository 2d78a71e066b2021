"""When an epoch is due to end, of what a node sees: its time, or gateways that are not those of the epoch."""

from __future__ import annotations

import math

from mesh.overlay.epoch_record import MIN_SESSION_GATEWAYS, NO_SESSION, EpochRecord
from mesh.overlay.profile import EpochProfile
from protocols.identifiers import PartyId


class Due:
    """Of one epoch, which began here at `since_s`. Times in seconds of the node's clock."""

    def __init__(self, head: EpochRecord, profile: EpochProfile, since_s: float) -> None:
        self.since_s = since_s
        self._head = head
        self._profile = profile
        self._wanted = head.gateways
        self._differs_s = self._changed_s = math.inf

    def watch(self, now: float, wanted: tuple[PartyId, ...]) -> None:
        """Since when the alive gateways differ from G_e, and since when they are those they are."""
        if wanted == self._head.gateways:
            self._differs_s = self._changed_s = math.inf
        elif wanted != self._wanted:
            self._differs_s, self._changed_s = min(self._differs_s, now), now
        self._wanted = wanted

    @property
    def is_disturbed(self) -> bool:
        """Whether the alive gateways differ from G_e."""
        return self._differs_s < math.inf

    @property
    def at(self) -> float:
        """When it is due, as things are."""
        settle_s = self._profile.settle_s
        settled_s = min(self._changed_s + settle_s, self._differs_s + 5 * settle_s)
        due = min(self.since_s + self._profile.epoch_s, max(settled_s, self.since_s + settle_s))
        if self._head.session == NO_SESSION and len(self._head.gateways) >= MIN_SESSION_GATEWAYS:
            due = min(due, self.since_s + settle_s)
        return due
