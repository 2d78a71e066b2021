"""The certified result goes down the tree: from the root to the adders below, from each adder to its devices.

For the root speak its first t+1 live members, so that no one of them can keep the result back; for an adder's
place the first live one in rank order, and when it is lost the next one. Who was lost and comes back is
told again: what was on the way to it went with its link. A result proves itself (t+1 ballots), so it does
not matter from whom it comes, nor how often. Of a plan by role each adder adds its roster on the way, from
which a device sees that it was counted (see `counting`); who was told before the rosters were known is told
again with them.
"""

from __future__ import annotations

from dataclasses import replace

from protocols.errors import UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.machine import Broadcast, Effect, Publish, Send
from protocols.sessions import events
from protocols.sessions.counting import Counting
from protocols.sessions.messages import Result
from protocols.sessions.offers import RosterRequest
from protocols.sessions.plan import Plan
from protocols.sessions.posts import Posts
from protocols.sessions.rootwork import RootWork


class Delivery:
    """Remembers whom this party has told, and how much."""

    def __init__(self, plan: Plan, me: PartyId) -> None:
        self.plan = plan
        self.me = me
        self.result: Result | None = None
        self.counting = Counting(plan, me)
        self._told: dict[PartyId, int] = {}
        self._said_counted = False

    @property
    def proof(self) -> Result | None:
        """The result, with the rosters that show whether we were counted, if we have them."""
        leaf = self.plan.cluster_of(self.me)
        return self.result if leaf is None else self._shown(leaf)

    @property
    def deadline(self) -> float | None:
        """When to ask for rosters."""
        return self.counting.deadline

    def expire(self, now: float) -> list[Effect]:
        """Ask for the rosters that we were not shown."""
        return self.counting.expire(now)

    def take(self, now: float, result: Result) -> None:
        """The result, which was checked; of a later one what we lack of rosters."""
        if self.result is None:
            self.result = replace(result, below=()) if result.below else result
            self.counting.opened(now, result)
        else:
            self.counting.learn(result.below)

    def answer(self, sender: PartyId, request: RosterRequest) -> list[Effect]:
        """Show the rosters down to the stage asked about, if we have them."""
        if not self.plan.by_role or not self.plan.knows(request.stage):
            raise UnexpectedMessage("rosters of a stage that we know nothing of")
        if self.result is None or self.counting.below(request.stage) is None:
            return []
        return [Send(sender, self._shown(request.stage))]

    def advance(self, lost: frozenset[PartyId], root: RootWork, posts: Posts) -> list[Effect]:
        """Tell those whom it is our turn to tell and who can be reached, once."""
        for certificate in posts.certificates if self.plan.by_role else ():
            self.counting.certified(certificate)
        if self.result is None:
            return []
        for party in lost & self._told.keys():
            del self._told[party]
        effects = self._publish()
        if root.speaks(lost):
            stage = self.plan.stages[self.plan.root]
            told = dict.fromkeys((self.plan.initiator, *root.everybody(), *stage.adders))
            told.update(dict.fromkeys(seat.party for seat in stage.substitutes))
            told.update(self._adders_below(self.plan.root))
            effects += self._tell(told, self.result, lost)
        for (index, _), adder in posts.adders.items():
            if adder.in_office:
                stage = self.plan.stages[index]
                told = dict.fromkeys((*stage.dealers, *stage.members))
                told.update(dict.fromkeys(seat.party for seat in stage.substitutes))
                told.update(self._adders_below(index))
                effects += self._tell(told, self._shown(index), lost)
        return effects

    def _tell(
        self, told: dict[PartyId, None], result: Result | None, lost: frozenset[PartyId]
    ) -> list[Effect]:
        assert result is not None
        depth = len(result.below)
        known = self._told
        fresh = tuple(p for p in told if p not in lost and p != self.me and known.get(p, -1) < depth)
        known.update(dict.fromkeys(fresh, depth))
        return [Broadcast(fresh, result)] if fresh else []

    def _shown(self, stage: int) -> Result | None:
        """The result with the rosters down to `stage`, as far as we have them."""
        below = self.counting.below(stage) if self.result is not None and self.plan.by_role else None
        return replace(self.result, below=below) if self.result is not None and below else self.result

    def _publish(self) -> list[Effect]:
        counted = self.counting.counted if self.plan.by_role and not self._said_counted else None
        if counted is None:
            return []
        self._said_counted = True
        return [Publish(events.Counted(counted))]

    def _adders_below(self, stage: int) -> dict[PartyId, None]:
        children = self.plan.stages[stage].children
        return dict.fromkeys(adder for child in children for adder in self.plan.stages[child].adders)
