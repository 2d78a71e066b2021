"""Was I counted? Rosters as a hash tree, shown on the way down with the result of a plan by role.

The certified root roster names the digest of the roster of each stage below it that counts, that roster
those below and that of its own generation before, the leaf's the dealing of each device. So the rosters on
the path from the root to a leaf prove to its devices what was counted, whoever shows them: each is named by
one above, and no signature but the root's is needed. An adder adds its own to the chain as it passes the
result on.

An adder that leaves the chain out, or whoever spoils it, keeps nobody from the result, which proves itself,
nor for long from the chain: who lacks it asks the members of its leaf, and a member those of the stage
above, where t+1 are honest. Root members have all it takes from the certificate itself; so the chain comes
down a level with each attempt.

Invariant: a roster that was not named by a certified one is never in a chain.
"""

from __future__ import annotations

from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect
from protocols.sessions.messages import Certificate, Result, Roster
from protocols.sessions.offers import RosterRequest
from protocols.sessions.plan import Plan
from protocols.sessions.roster import roster_digest

ASK_AFTER_S = 2.0
"""From the result, or the last attempt, until one that lacks its chain asks for it."""
MAX_ATTEMPTS = 4


class Counting:
    """The rosters that one party has been shown to count. Idle unless the plan goes out by role."""

    def __init__(self, plan: Plan, me: PartyId) -> None:
        self.deadline: float | None = None
        self.plan = plan
        self.me = me
        self._own: dict[tuple[int, int], Roster] = {}
        self._named: set[tuple[int, Digest]] = set()
        self._proven: dict[int, dict[Digest, Roster]] = {}
        self._attempts = 0
        self._wanted = _wanted(plan, me) if plan.by_role else frozenset()

    def certified(self, certificate: Certificate) -> None:
        """One of our own stages has its roster, which was checked."""
        if self.plan.by_role:
            self._own[certificate.roster.stage, certificate.roster.generation] = certificate.roster
            self._link_own()

    def opened(self, now: float, result: Result) -> None:
        """The result is known, and checked."""
        if self.plan.by_role:
            root = result.certificate.roster
            self._keep(root, roster_digest(self.plan.session, root))
            refills = [handover.certificate.roster for handover in reversed(result.handovers)]
            self.learn((*refills, *(link.roster for link in reversed(result.interim))))
            self.learn(result.below)
            self._again(now)

    def learn(self, below: tuple[Roster, ...]) -> None:
        """Take as much of a chain as holds."""
        for roster in below:
            self._link(roster)
        self._link_own()

    def below(self, stage: int) -> tuple[Roster, ...] | None:
        """The chain to `stage`, or to above where it was not counted; None if that is not known."""
        path = [stage]
        while path[-1] != self.plan.root:
            path.append(self.plan.parent_of(path[-1]))
        chain: list[Roster] = []
        for under in reversed(path[:-1]):
            if not self._is_named(under):
                above = self.plan.parent_of(under)
                return tuple(chain) if self._is_complete(above) else None
            if under not in self._proven:
                return None
            chain += self._proven[under].values()
        return tuple(chain)

    def _is_named(self, stage: int) -> bool:
        return any(child == stage for child, _ in self._named)

    def _is_complete(self, stage: int) -> bool:
        """Whether all its rosters that count are here, down to its first generation."""
        known = self._proven.get(stage, {})
        named = {source for child, source in self._named if child == stage}
        return bool(known) and named <= known.keys()

    @property
    def counted(self) -> bool | None:
        """Whether our own dealing is in the total; None if we deal nothing, or were not shown yet."""
        leaf = self.plan.cluster_of(self.me)
        if leaf is None or self.below(leaf) is None:
            return None
        return any(self.me in roster.contributors for roster in self._proven.get(leaf, {}).values())

    def expire(self, now: float) -> list[Effect]:
        """Ask for what we were not shown."""
        effects: list[Effect] = []
        for stage in sorted(self._wanted):
            members = tuple(who for who in self.plan.stages[stage].members if who != self.me)
            if self.below(stage) is None and members:
                effects.append(Broadcast(members, RosterRequest(stage, self._attempts)))
        self._attempts += 1
        self._again(now)
        return effects

    def _again(self, now: float) -> None:
        lacking = any(self.below(stage) is None for stage in self._wanted)
        self.deadline = now + ASK_AFTER_S if lacking and self._attempts < MAX_ATTEMPTS else None

    def _link(self, roster: Roster) -> None:
        """Keep a roster that one we have names: that of the stage above, or of the generation after."""
        name = roster_digest(self.plan.session, roster)
        if (roster.stage, name) in self._named:
            self._keep(roster, name)

    def _keep(self, roster: Roster, name: Digest) -> None:
        self._proven.setdefault(roster.stage, {})[name] = roster
        self._named.update((group.child, group.source) for group in roster.groups if group.child >= 0)

    def _link_own(self) -> None:
        for _, roster in sorted(self._own.items(), reverse=True):
            self._link(roster)


def _wanted(plan: Plan, me: PartyId) -> frozenset[int]:
    """Stages whose chain we want to be shown: our leaf's, and those above the stages where we serve."""
    leaf = plan.cluster_of(me)
    above = {plan.parent_of(stage) for stage in plan.stages_of(me) if stage != plan.root}
    return frozenset((above | ({leaf} if leaf is not None else set())) - {plan.root})
