"""Which roster an adder proposes: its own view, unless members have voted for another one before.

A roster that t+1 members voted for is proposed again, unchanged: an honest one is among them. One that fewer
speak for is taken up only if it leaves out nothing that we would list, so that a lying member cannot make an
adder drop dealers, lists only what a quorum says it holds, though its dealer may be gone, and hands seats
over only as we would. A committee's sum that it takes from another generation than we would is the same.
"""

from __future__ import annotations

from protocols.sessions.handover import is_agreeable
from protocols.sessions.ledger import Ledger
from protocols.sessions.messages import Ballot, Roster
from protocols.sessions.plan import Seat
from protocols.sessions.roster import united


class Composer:
    """What members claim to have voted for, and the roster that follows from it and the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.claims: dict[int, tuple[Roster, Ballot]] = {}

    def claimed(self) -> Roster | None:
        """The roster that t+1 members say they voted for, once we know its sources' certificates."""
        if not self.claims:
            return None
        rosters = [claim for claim, _ in self.claims.values()]
        needed = self.ledger.assembly.threshold + 1
        usable = (claim for claim in rosters if rosters.count(claim) >= needed and self._is_usable(claim))
        return next(usable, None)

    def compose(self, successors: tuple[Seat, ...] = ()) -> Roster:
        """All that we know good; or the roster some member voted for, if it is that and no less."""
        assembly, absent = self.ledger.assembly, frozenset(self.ledger.lost_at)
        groups = self.ledger.groups()
        children = {group.child for group in groups if group.entries}
        good = self.ledger.votable()
        for claim, _ in self.claims.values():
            shared = {group.source for group in claim.groups}
            ours = {entry.dealing for group in groups if group.source in shared for entry in group.entries}
            theirs = {entry.dealing for group in claim.groups for entry in group.entries}
            caught = any(e.dealer in self.ledger.excluded for group in claim.groups for e in group.entries)
            given = claim.is_interim and not is_agreeable(assembly, claim.successors, absent)
            if not children <= {group.child for group in claim.groups if group.entries}:
                continue
            if ours <= theirs <= good and not caught and not given and self._is_usable(claim):
                return claim
        return united(assembly, groups, self.ledger.certificates, successors)

    def _is_usable(self, claim: Roster) -> bool:
        return all(group.child < 0 or group.source in self.ledger.learned for group in claim.groups)
