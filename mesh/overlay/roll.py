"""The table of members behind one node's membership: what was heard of each, and comparing it with others.

Invariants: at most MAX_MEMBERS entries; only members that left make room for new ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mesh.overlay.announcement import Announcement
from mesh.overlay.gossip import MAX_MEMBERS, Known
from mesh.overlay.suspicion import Suspicions
from mesh.overlay.view import Status
from protocols.identifiers import PartyId


@dataclass(slots=True)
class Entry:
    """One member: its newest announcement, its status, since when, and when it was last heard of."""

    announcement: Announcement
    status: Status
    since_s: float
    heard_s: float

    @property
    def expires_s(self) -> int:
        """End of its certificate."""
        return self.announcement.certificate.certificate.expires_s


class Roll(dict[PartyId, Entry]):
    """Members by id."""

    def inventory(self, suspicions: Suspicions) -> list[Known]:
        """What we know of everybody, line by line."""
        return [
            Known(party, entry.announcement.incarnation, suspicions.about(party) is not None)
            for party, entry in self.items()
        ]

    def newer_elsewhere(self, theirs: Iterable[Known]) -> list[PartyId]:
        """Of whom they have heard later than we, sorted."""
        return sorted(
            line.party
            for line in theirs
            if line.party not in self or line.incarnation > self[line.party].announcement.incarnation
        )

    def newer_here(self, theirs: Iterable[Known], suspicions: Suspicions) -> list[PartyId]:
        """Of whom we have heard later than they, or doubt where they do not, sorted."""
        known = {line.party: (line.incarnation, line.doubted) for line in theirs}
        return sorted(
            line.party
            for line in self.inventory(suspicions)
            if (line.incarnation, line.doubted) > known.get(line.party, (-1, False))
        )

    def make_room(self, me: PartyId) -> PartyId | None:
        """Drop the member gone for longest if the table is full; returns it. See `is_full`."""
        gone = [party for party, entry in self.items() if entry.status is Status.LEFT and party != me]
        if not self.is_full or not gone:
            return None
        oldest = min(gone, key=lambda party: (self[party].since_s, party))
        del self[oldest]
        return oldest

    @property
    def is_full(self) -> bool:
        """Whether nobody else fits."""
        return len(self) >= MAX_MEMBERS
