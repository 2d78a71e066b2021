"""When an adder that is there, but gets nowhere, is passed over.

An adder is trusted with liveness only, and membership notices one that is gone. One that answers heartbeats
and relays nothing, or proposes to a few only, would hold up its stage for ever. So each party, on its own
clock, passes over rank k of a stage once no certificate of the stage was seen by

    start + collecting time of the stage + (k + 1) * patience,    patience = collect_ms / 8, at most 3 s

which leaves the next rank its chance before the stage above stops collecting (half of collect_ms later).
The last rank is never passed over. To pass over is to treat as lost, for this stage alone: dealers deal to
the next rank, members tell it what they hold and how they voted, and take its proposal.

Safety does not rest on clocks. A member signs one roster, whoever proposes it, so parties that disagree on
who is in office may fail to certify any roster, never certify two (see `roster`); the next rank proposes
anew what t+1 members have voted for, as after a loss.
"""

from __future__ import annotations

from collections.abc import Collection

from protocols.identifiers import PartyId
from protocols.sessions.assembly import height
from protocols.sessions.plan import Plan

MAX_PATIENCE_S = 3.0


def collecting_s(plan: Plan, stage: int) -> float:
    """How long a stage's adder collects: `collect_ms` at a leaf, each level above half as long again."""
    return plan.collect_ms / 1000 * (1 + (height(plan, stage) - 1) / 2)


class Progress:
    """The ranks that one party passes over, in the stages it takes part in."""

    def __init__(self, plan: Plan, me: PartyId) -> None:
        self.plan = plan
        stages = set(plan.stages_of(me)) | set(_substituted(plan).get(me, ()))
        seated = tuple(stages)
        cluster = plan.cluster_of(me)
        stages |= set() if cluster is None else {cluster}
        stages |= {plan.parent_of(stage) for stage in seated if stage != plan.root}
        stages |= {child for stage in seated for child in plan.stages[stage].children}
        self._open = stages
        self._passed = dict.fromkeys(stages, 0)
        self._start = float("inf")
        self.banned: frozenset[PartyId] = frozenset()
        self.deadline: float | None = None
        """When the next rank is passed over."""

    def start(self, now: float) -> None:
        """The session begins for us."""
        self._start = now
        self._look()

    def certified(self, stage: int) -> None:
        """The stage has its certificate: its adders did what they are for."""
        self._open.discard(stage)
        self._look()

    def ban(self, adder: PartyId) -> None:
        """An adder of the root whose sum failed its audit is passed over from now on (see `auditor`)."""
        self.banned |= {adder}

    def banned_at(self, stage: int) -> frozenset[PartyId]:
        """Of the banned, those of this stage."""
        return self.banned if stage == self.plan.root else frozenset()

    def stalled(self, stage: int) -> frozenset[PartyId]:
        """Ranks of the stage that are passed over."""
        return self.banned_at(stage).union(self.plan.stages[stage].adders[: self._passed.get(stage, 0)])

    def expire(self, now: float) -> Collection[int]:
        """Stages in which somebody is passed over from now on."""
        changed = [stage for stage in self._open if (due := self._due(stage)) is not None and due <= now]
        for stage in changed:
            self._passed[stage] += 1
        self._look()
        return changed

    def _look(self) -> None:
        self.deadline = min((due for s in self._open if (due := self._due(s)) is not None), default=None)

    def _due(self, stage: int) -> float | None:
        rank = self._passed[stage]
        if rank + 1 >= len(self.plan.stages[stage].adders):
            return None
        patience_s = min(MAX_PATIENCE_S, self.plan.collect_ms / 8000)
        return self._start + collecting_s(self.plan, stage) + (rank + 1) * patience_s


def _substituted(plan: Plan) -> dict[PartyId, list[int]]:
    """Stages that each substitute may come to sit in; made once for each plan."""
    known = plan.derived.get(("substituted", 0))
    if isinstance(known, dict):
        return known
    made: dict[PartyId, list[int]] = {}
    for index, stage in plan.known:
        for seat in stage.substitutes:
            made.setdefault(seat.party, []).append(index)
    plan.derived["substituted", 0] = made
    return made
