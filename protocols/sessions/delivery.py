"""The certified result goes down the tree: from the root to the adders below, from each adder to its devices.

For the root speak its first t+1 live members, so that no one of them can keep the result back; for an adder's
place the first live one in rank order, and when it is lost the next one. Who was lost and comes back is
told again: what was on the way to it went with its link. A result proves itself (t+1 ballots), so it does
not matter from whom it comes, nor how often.

Of a plan by role each adder adds its roster on the way, from which a device sees that it was counted (see
`counting`): to the adders below each the part that leads to its stage, to its own devices the leaf's. So what
is received grows with the depth of the tree, not with what hangs below a stage. Members of the root alone get
the root's roster whole, of which they show others parts. Who was told before the rosters were known is told
again with them.
"""

from __future__ import annotations

from dataclasses import replace

from protocols.errors import UnexpectedMessage
from protocols.identifiers import PartyId
from protocols.machine import Broadcast, Effect, Publish, Send
from protocols.sessions import events
from protocols.sessions.counting import Counting
from protocols.sessions.messages import Result, Roster
from protocols.sessions.offers import RosterRequest
from protocols.sessions.plan import Plan
from protocols.sessions.posts import Posts
from protocols.sessions.rootwork import RootWork
from protocols.sessions.roster_tree import part

Told = tuple[tuple[PartyId, ...], int, Result]
"""Parties that are told a result, and the stage to which it leads."""


class Delivery:
    """Remembers whom this party has told, and how much."""

    def __init__(self, plan: Plan, me: PartyId) -> None:
        self.plan = plan
        self.me = me
        self.result: Result | None = None
        self.counting = Counting(plan, me)
        self._told: dict[tuple[PartyId, int], int] = {}
        self._made: dict[int, tuple[int, Result]] = {}
        self._said_counted = False

    @property
    def proof(self) -> Result | None:
        """The result, with the rosters that show whether we were counted, if we have them."""
        leaf = self.plan.cluster_of(self.me)
        return self.result if leaf is None or self.result is None else self._shown(leaf)

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
        elif self.plan.by_role:
            self.counting.learn(result)

    def answer(self, sender: PartyId, request: RosterRequest) -> list[Effect]:
        """Show the rosters down to the stage asked about, if we have them."""
        if not self.plan.by_role or not self.plan.knows(request.stage):
            raise UnexpectedMessage("rosters of a stage that we know nothing of")
        if self.result is None or self.counting.chain(request.stage) is None:
            return []
        return [Send(sender, self._shown(request.stage))]

    def advance(self, lost: frozenset[PartyId], root: RootWork, posts: Posts) -> list[Effect]:
        """Tell those whom it is our turn to tell and who can be reached, once."""
        if self.plan.by_role:
            for certificate in posts.certificates:
                self.counting.certified(certificate)
        if self.result is None:
            return []
        if lost:
            self._told = {told: depth for told, depth in self._told.items() if told[0] not in lost}
        effects, top = self._publish(), self.plan.root
        if root.speaks(root.lost):
            stage = self.plan.stages[top]
            spare = tuple(seat.party for seat in stage.substitutes)
            audience = [
                ((self.plan.initiator,), top, self._shown(top)),
                (root.everybody(), top, self.result),
                ((*stage.adders, *spare), top, self._shown(top)),
            ]
            effects += self._tell([*audience, *self._below(top)], lost)
        for (index, _), adder in posts.adders.items():
            if adder.in_office:
                stage = self.plan.stages[index]
                told = (*stage.dealers, *stage.members, *(seat.party for seat in stage.substitutes))
                effects += self._tell([(told, index, self._shown(index)), *self._below(index)], lost)
        return effects

    def remind(self, party: PartyId) -> None:
        """It gave a ballot for an abort, so what it was told has not reached it."""
        self._told = {told: depth for told, depth in self._told.items() if told[0] != party}

    def _below(self, stage: int) -> list[Told]:
        """Adders of the stages below, each with what leads to its own."""
        stages = self.plan.stages
        return [(stages[child].adders, child, self._shown(child)) for child in stages[stage].children]

    def _tell(self, audience: list[Told], lost: frozenset[PartyId]) -> list[Effect]:
        """Each party once about a stage, and again when more rosters are known."""
        fresh: dict[int, tuple[Result, list[PartyId]]] = {}
        for parties, about, result in audience:
            subject, depth = about if self.plan.by_role else self.plan.root, _depth(result)
            for party in parties:
                if party in lost or party == self.me or self._told.get((party, subject), -1) >= depth:
                    continue
                self._told[party, subject] = depth
                fresh.setdefault(id(result), (result, []))[1].append(party)
        return [Broadcast(tuple(parties), result) for result, parties in fresh.values()]

    def _shown(self, stage: int) -> Result:
        """The result with the rosters down to `stage`, as far as we have them."""
        assert self.result is not None
        if not self.plan.by_role:
            return self.result
        made = self._made.get(stage)
        if made is None or made[0] < self.counting.version:
            chain = self.counting.chain(stage) or (part(self.result.certificate.roster),)
            made = self._made[stage] = (self.counting.version, _with(self.result, chain))
        return made[1]

    def _publish(self) -> list[Effect]:
        counted = self.counting.counted if self.plan.by_role and not self._said_counted else None
        if counted is None:
            return []
        self._said_counted = True
        return [Publish(events.Counted(counted))]


def _depth(result: Result) -> int:
    """Rosters that lead on, or are the last."""
    hidden = result.certificate.roster.hidden
    return len(result.below) + (hidden is None or hidden.link is not None)


def _with(result: Result, chain: tuple[Roster, ...]) -> Result:
    """The same result, told by `chain`; of all other rosters no more than the heads."""
    return replace(
        result,
        certificate=replace(result.certificate, roster=chain[0]),
        handovers=tuple(
            replace(link, certificate=replace(link.certificate, roster=part(link.certificate.roster)))
            for link in result.handovers
        ),
        interim=tuple(replace(link, roster=part(link.roster)) for link in result.interim),
        below=chain[1:],
    )
