"""Long vectors beside the session: masked, added up the tree as integers, unmasked with the opened key.

    device      masks its vector, deals the mask's key (its dealing names the vector), sends the vector once
    leaf adder  counts a dealing only when its vector is here whole; adds the certified roster's vectors
    adder above takes a cluster's sum with the cluster's key sum; its name is fixed in the certified roster
    root adder  adds the clusters' sums and hands the masked total to whoever the plan names
    receiver    unmasks it with the opened sum of keys (masking.one_shot), which vouches for itself: a sum
                that is not that of the certified roster shows as noise or by its check

Machines see names only (digests over all pieces); bytes stay in the node's vector store, which tells of
arrivals by VectorStored and adds on a Combine effect. An adder learns nothing from masked vectors. It could
add wrongly; then the total does not unmask, or, if it forged the check as well (its point is public), the
named vectors and sums, all certified, prove it to any auditor who fetches them.

If an adder is lost after its roster was certified, devices that are still here send again to the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protocols.errors import UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Combine, Effect, Publish, Send, Transfer
from protocols.sessions import events
from protocols.sessions.adder import Adder
from protocols.sessions.assembly import first_generation
from protocols.sessions.messages import (
    ClusterVector,
    Result,
    TotalVector,
    VectorsAdded,
    VectorStored,
)
from protocols.sessions.plan import Plan
from protocols.sessions.vectors import Vectors


class BulkWork:
    """One party's part in moving masked vectors; idle in sessions without them."""

    def __init__(self, plan: Plan, me: PartyId) -> None:
        self.plan = plan
        self.me = me
        self.vectors = Vectors(plan)
        self.total: Digest | None = None
        self._sums: dict[int, Digest] = {}
        self._combining: set[int] = set()
        self._sent_up: dict[int, PartyId] = {}
        self._told: set[PartyId] = set()
        self._announced = False
        self._named: dict[tuple[int, PartyId], Digest] = {}
        self._told_us: dict[PartyId, Digest] = {}

    def receive(self, sender: PartyId, message: object, lost: frozenset[PartyId]) -> None:
        """Names that others, or our own store, tell us. Raises UnexpectedMessage from the wrong party."""
        match message:
            case VectorStored() if sender == self.me:
                self.vectors.stored.add(message.name)
            case VectorsAdded() if sender == self.me:
                self.vectors.stored.add(message.name)
                self._sums[message.stage] = message.name
            case ClusterVector():
                if (
                    message.child >= len(self.plan.stages)
                    or sender not in self.plan.stages[message.child].adders
                ):
                    raise UnexpectedMessage("a cluster's sum comes from its adders")
                self._named[message.child, sender] = message.name
            case TotalVector():
                if not any(sender in stage.adders for stage in self.plan.stages):
                    raise UnexpectedMessage("the masked total comes from an adder")
                self._told_us[sender] = message.name
            case _:
                raise UnexpectedMessage(f"{type(message).__name__} from the wrong party")
        self._believe(lost)

    def _believe(self, lost: frozenset[PartyId]) -> None:
        """Names count from the adder in office only: a lower rank must not put its own in their place."""
        for child in range(len(self.plan.stages)):
            adder = self._adder(child, lost)
            if adder is not None and (child, adder) in self._named:
                self.vectors.of_child[child] = self._named[child, adder]
        for adder in self._those_who_tell(lost):
            if adder in self._told_us and (self.total is None or self.total not in self.vectors.stored):
                self.total = self._told_us[adder]

    def _adder(self, stage: int, lost: frozenset[PartyId]) -> PartyId | None:
        return first_generation(self.plan, stage).current_adder(lost)

    def _those_who_tell(self, lost: frozenset[PartyId]) -> list[PartyId]:
        """In office: the root's adder, our own cluster's, and those above the stages that we add for."""
        stages = [self.plan.root]
        cluster = self.plan.cluster_of(self.me)
        if cluster is not None:
            stages.append(cluster)
        for index, stage in enumerate(self.plan.stages):
            if self.me in stage.adders and index != self.plan.root:
                stages.append(self.plan.parent_of(index))
        adders = (self._adder(stage, lost) for stage in stages)
        return [adder for adder in adders if adder is not None]

    def advance(
        self, lost: frozenset[PartyId], adders: Mapping[tuple[int, int], Adder], result: Result | None
    ) -> list[Effect]:
        """Add what can be added, send sums up, hand the total down; once each."""
        if self.plan.bulk is None:
            return []
        self._believe(lost)
        self._told -= lost  # what was under way to them may be lost; who comes back gets it again
        self._sent_up = {stage: above for stage, above in self._sent_up.items() if above not in lost}
        effects: list[Effect] = []
        for (stage, generation), adder in adders.items():
            if generation > 0:
                continue  # a handover moves keys, not masked vectors
            if stage not in self._combining and adder.in_office and (parts := adder.parts()) is not None:
                self._combining.add(stage)
                effects.append(Combine(stage, parts))
            if stage in self._sums:
                effects += self._pass_up(stage, lost) if stage != self.plan.root else []
        if self.plan.root in self._sums:
            self.total = self._sums[self.plan.root]
        return [*effects, *self._hand_down(lost, adders, result)]

    def _pass_up(self, stage: int, lost: frozenset[PartyId]) -> list[Effect]:
        above = first_generation(self.plan, self.plan.parent_of(stage)).current_adder(lost)
        if above is None or self._sent_up.get(stage) == above:
            return []
        self._sent_up[stage] = above
        name = self._sums[stage]
        return [Send(above, ClusterVector(stage, name)), *_transfer((above,), name, self.me)]

    def _hand_down(
        self, lost: frozenset[PartyId], adders: Mapping[tuple[int, int], Adder], result: Result | None
    ) -> list[Effect]:
        """From the root's adder to the initiator, or from adder to adder to every device."""
        name = self.total
        if result is None or name is None or name not in self.vectors.stored:
            return []
        effects: list[Effect] = []
        if not self._announced:
            self._announced = True
            effects.append(Publish(events.MaskedTotal(name)))
        told: dict[PartyId, None] = {}
        for (index, _), adder in adders.items():
            stage = self.plan.stages[index]
            if index == self.plan.root and adder.in_office:
                told[self.plan.initiator] = None
            if self.plan.bulk is not None and self.plan.bulk.to_all and adder.in_office:
                told.update(dict.fromkeys(stage.dealers))
                told.update((self.plan.stages[child].adders[0], None) for child in stage.children)
        reached = self._told | lost | {self.me}
        fresh = tuple(party for party in told if party not in reached)
        self._told.update(fresh)
        effects += [Send(party, TotalVector(name)) for party in fresh]
        return [*effects, *_transfer(fresh, name, self.me)]


def _transfer(to: Sequence[PartyId], name: Digest, me: PartyId) -> list[Effect]:
    """A transfer to everybody but ourselves, who have it."""
    others = tuple(party for party in to if party != me)
    return [Transfer(others, name)] if others else []
