"""Was I counted? Rosters as a hash tree, shown on the way down with the result of a plan by role.

The certified root roster names the digest of the roster of each stage below it that counts, that roster
those below and that of its own generation before, the leaf's the devices. So the rosters on the path from the
root to a leaf prove to its devices what was counted, whoever shows them: each is named by the one before, and
no signature but the root's is needed. Each is shown in part (`roster_tree`): its head and the one link that
leads on, O(log fan-in) hashes a level; the leaf's own whole. A chain ends

    in the leaf's roster             which names its devices: who is not among them was not counted
    in a head that lists neither     that was not counted, nor anything below it: the list is of all sources,
    the stage below, nor a           and the digest fixes it
    generation before

A lie is not possible, but silence is: whoever hides a group, cuts the chain, or forges a path shows nothing.
The path that a device is shown leads from the certified digest to one roster of its leaf only, since a head
lists a source once and a place in the tree holds one link: two devices of one leaf see one roster. That the
sources' counts add up to the certified one was checked by a quorum of each stage (`roster.check_sources`).

Each adder shows its members and the adders below the chain to their stages, from what it was shown and its
own roster. One that does not, or whoever spoils it, keeps nobody from the result, which proves itself, nor
for long from the chain: devices ask the members of their leaf, and the members of a stage those of the stage
above, where t+1 are honest. Root members have all it takes from the certificate itself; so the chain comes
down a level with each attempt.

Invariant: a roster that was not named by a certified one is never in a chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from protocols.errors import MalformedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect
from protocols.sessions.messages import Certificate, Result, Roster
from protocols.sessions.offers import RosterRequest
from protocols.sessions.plan import Plan
from protocols.sessions.roster import roster_digest
from protocols.sessions.roster_tree import part

ASK_AFTER_S = 2.0
"""From the result, or the last attempt, until one that lacks its chain asks for it."""
MAX_ATTEMPTS = 6


@dataclass(frozen=True, slots=True)
class Trail:
    """From the root's roster on, each in part. `name`: of the stage's own, None if it does not count."""

    rosters: tuple[Roster, ...]
    name: Digest | None


class Counting:
    """The rosters that one party has been shown to count. Idle unless the plan goes out by role."""

    def __init__(self, plan: Plan, me: PartyId) -> None:
        self.deadline: float | None = None
        self.plan = plan
        self.me = me
        self.version = 0
        """Grows with what is known."""
        self._opened: Digest | None = None
        self._own: dict[tuple[int, int], Roster] = {}
        self._named: set[tuple[int, Digest]] = set()
        self._proven: dict[Digest, Roster] = {}
        self._showing: dict[tuple[Digest, int], Roster] = {}
        self._attempts = 0
        self._wanted = _wanted(plan, me) if plan.by_role else ()

    def certified(self, certificate: Certificate) -> None:
        """One of our own stages has its roster, which was checked."""
        slot = certificate.roster.stage, certificate.roster.generation
        if self.plan.by_role and slot not in self._own:
            self._own[slot] = certificate.roster
            self._link_own()

    def opened(self, now: float, result: Result) -> None:
        """The result is known, and checked."""
        if self.plan.by_role:
            self._opened = roster_digest(self.plan.session, result.certificate.roster)
            self._named.add((self.plan.root, self._opened))
            self.learn(result)
            self._again(now)

    def learn(self, result: Result) -> None:
        """Take as much of what a result shows as holds."""
        refills = [handover.certificate.roster for handover in reversed(result.handovers)]
        interim = [link.roster for link in reversed(result.interim)]
        for roster in (result.certificate.roster, *refills, *interim, *result.below):
            try:
                self._link(roster)
            except MalformedMessage:
                break  # what follows is named by nothing we know
        self._link_own()

    def chain(self, stage: int) -> tuple[Roster, ...] | None:
        """What shows whether `stage` counts; to a cluster, if we have it, with its own. None if not known."""
        trail = self._trail(stage)
        if trail is None:
            return None
        own = self._proven.get(trail.name) if trail.name is not None else None
        return (*trail.rosters, own) if own is not None and self._is_leaf(stage) else trail.rosters

    @property
    def counted(self) -> bool | None:
        """Whether our own dealing is in the total; None if we deal nothing, or were not shown yet."""
        leaf = self.plan.cluster_of(self.me)
        trail = None if leaf is None else self._trail(leaf)
        if trail is None:
            return None
        if trail.name is None:
            return False
        own = self._proven.get(trail.name)
        return None if own is None else self.me in own.contributors

    def expire(self, now: float) -> list[Effect]:
        """Ask for what we were not shown."""
        effects: list[Effect] = []
        for stage, asked in self._wanted:
            members = tuple(who for who in self.plan.stages[asked].members if who != self.me)
            if self._lacks(stage, asked) and members:
                effects.append(Broadcast(members, RosterRequest(stage, self._attempts)))
        self._attempts += 1
        self._again(now)
        return effects

    def _again(self, now: float) -> None:
        lacking = any(self._lacks(*wanted) for wanted in self._wanted)
        self.deadline = now + ASK_AFTER_S if lacking and self._attempts < MAX_ATTEMPTS else None

    def _lacks(self, stage: int, asked: int) -> bool:
        return self.counted is None if asked == stage else self._trail(stage) is None

    def _trail(self, stage: int) -> Trail | None:
        path = [stage]
        while path[-1] != self.plan.root:
            path.append(self.plan.parent_of(path[-1]))
        rosters: list[Roster] = []
        name = self._opened
        for at, under in pairwise(reversed(path)):
            reached = False
            while not reached:
                known = self._proven.get(name) if name is not None else None
                if name is None or known is None:
                    return None
                leads = next((child for child in (under, at) if child in known.children), None)
                if leads is None:
                    return Trail((*rosters, part(known)), None)
                shown = self._showing.get((name, leads))
                if shown is None:
                    return None
                rosters.append(part(shown, leads))
                name, reached = shown.links[leads].source, leads == under
        return None if name is None else Trail(tuple(rosters), name)

    def _is_leaf(self, stage: int) -> bool:
        return bool(self.plan.stages[stage].dealers)

    def _link(self, roster: Roster) -> None:
        """Keep a roster that one we have names: that of the stage above, or of the generation after."""
        name = roster_digest(self.plan.session, roster)
        if (roster.stage, name) not in self._named:
            return
        known = self._proven.get(name)
        if known is None or roster.hidden is None:
            self._proven[name] = roster
        for child, link in roster.links.items():
            if child >= 0 and (name, child) not in self._showing:
                self._showing[name, child] = roster
                self._named.add((child, link.source))
                self.version += 1
        self.version += known is None

    def _link_own(self) -> None:
        for _, roster in sorted(self._own.items(), reverse=True):
            self._link(roster)


def _wanted(plan: Plan, me: PartyId) -> tuple[tuple[int, int], ...]:
    """Stages whose chains we want, and whose members we ask: our leaf's its own, of a post's those above."""
    leaf = plan.cluster_of(me)
    posts = {(stage, plan.parent_of(stage)) for stage in plan.stages_of(me) if stage != plan.root}
    return tuple(sorted(posts if leaf is None else posts | {(leaf, leaf)}))
