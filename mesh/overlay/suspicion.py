"""Doubt about liveness: who is doubted, at which incarnation, until when before it counts as gone.

Source: SWIM's suspicion sub-protocol and HashiCorp memberlist's timeout that grows with log(members),
so that a rumour has time to reach its subject and the refutation to come back.

Invariants: a suspicion concerns one incarnation and dies with it; suspecting costs a member nothing
but a new incarnation; nothing about honesty follows from a suspicion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from mesh.overlay.announcement import Incarnation
from protocols.identifiers import PartyId


@dataclass(frozen=True, slots=True)
class Suspicion:
    """`by` cannot reach `party`, last heard of in this incarnation. Unsigned: any member may doubt any."""

    KIND: ClassVar[str] = "suspicion"
    party: PartyId
    incarnation: Incarnation
    by: PartyId


def timeout_s(base_s: float, members: int) -> float:
    """SUSPECT to LEFT: base * max(1, log10(members)). Longer: fewer false goodbyes; shorter: tidier."""
    return base_s * max(1.0, math.log10(max(1, members)))


class Suspicions:
    """The doubts a node holds. At most one per party."""

    def __init__(self) -> None:
        self._held: dict[PartyId, tuple[Suspicion, float]] = {}

    def raise_(self, suspicion: Suspicion, until_s: float) -> bool:
        """Hold a doubt; False if one about this incarnation (or a later one) is held already."""
        held = self._held.get(suspicion.party)
        if held is not None and held[0].incarnation >= suspicion.incarnation:
            return False
        self._held[suspicion.party] = (suspicion, until_s)
        return True

    def clear(self, party: PartyId) -> Suspicion | None:
        """Drop the doubt about `party` and return it."""
        held = self._held.pop(party, None)
        return held[0] if held else None

    def about(self, party: PartyId) -> Suspicion | None:
        """The doubt about `party`, if any. It stays after the party counts as gone, to be passed on."""
        held = self._held.get(party)
        return held[0] if held else None

    def due(self, now: float) -> list[PartyId]:
        """Parties whose time to refute is over; each is reported once."""
        over = [party for party, (_, until_s) in self._held.items() if until_s <= now]
        for party in over:
            self._held[party] = (self._held[party][0], math.inf)
        return over

    @property
    def deadline(self) -> float:
        """When `due` has something next; infinity if never."""
        return min((until_s for _, until_s in self._held.values()), default=math.inf)
