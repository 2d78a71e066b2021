"""The certified result goes down the tree: from the root to the adders below, from each adder to its devices.

For the root speak its first t+1 live members, so that no one of them can keep the result back; for an adder's
place the first live one in rank order, and when it is lost the next one. Who was lost and comes back is
told again: what was on the way to it went with its link. A result proves itself (t+1 ballots), so it does
not matter from whom it comes, nor how often.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocols.identifiers import PartyId
from protocols.machine import Broadcast, Effect
from protocols.sessions.adder import Adder
from protocols.sessions.messages import Result
from protocols.sessions.plan import Plan
from protocols.sessions.rootwork import RootWork


class Delivery:
    """Remembers whom this party has told."""

    def __init__(self, plan: Plan, me: PartyId) -> None:
        self.plan = plan
        self.me = me
        self.result: Result | None = None
        self._told: set[PartyId] = set()

    def advance(
        self, lost: frozenset[PartyId], root: RootWork, adders: Mapping[tuple[int, int], Adder]
    ) -> list[Effect]:
        """Tell those whom it is our turn to tell and who can be reached, once."""
        if self.result is None:
            return []
        self._told -= lost
        told: dict[PartyId, None] = {}
        if root.speaks(lost):
            stage = self.plan.stages[self.plan.root]
            told.update(dict.fromkeys((self.plan.initiator, *root.everybody(), *stage.adders)))
            told.update(dict.fromkeys(seat.party for seat in stage.substitutes))
            told.update(self._adders_below(self.plan.root))
        for (index, _), adder in adders.items():
            if adder.in_office:
                stage = self.plan.stages[index]
                told.update(dict.fromkeys((*stage.dealers, *stage.members)))
                told.update(dict.fromkeys(seat.party for seat in stage.substitutes))
                told.update(self._adders_below(index))
        fresh = tuple(party for party in told if party not in self._told | lost and party != self.me)
        self._told.update(fresh)
        return [Broadcast(fresh, self.result)] if fresh else []

    def _adders_below(self, stage: int) -> dict[PartyId, None]:
        children = self.plan.stages[stage].children
        return dict.fromkeys(adder for child in children for adder in self.plan.stages[child].adders)
