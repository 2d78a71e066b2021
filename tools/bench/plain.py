"""The same tree without protection: float32 vectors sent and added, nothing masked or dealt.

A benchmark's counterpart of `SessionParty` and `VectorStore`, with the same framing, pieces, digests and
spool, so that secure over plain compares protection and nothing else. No part of the product.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from mesh.runtime.vectors.running import RunningSum
from mesh.runtime.vectors.store import VectorStore
from protocols.arithmetic import field
from protocols.errors import UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Combine, Effect, Publish, Send, Transfer
from protocols.masking.layout import Layout
from protocols.masking.parameters import B16_N10
from protocols.sessions import events
from protocols.sessions.bulk_messages import ClusterVector, TotalVector, VectorsAdded, VectorStored
from protocols.sessions.messages import NO_VECTOR, Certificate, PeersLost, PlanOffer, Result, Roster
from protocols.sessions.plan import Plan

Floats = npt.NDArray[np.float32]


class RawLayout(Layout):
    """Spans of as many values as a masked vector with one slot has, four bytes each."""

    @property
    def packed_bytes(self) -> int:
        """Bytes of a vector."""
        return 4 * self.coordinates

    def span_bytes(self, index: int) -> int:
        """Bytes of a piece."""
        return 4 * self.span(index).coordinates


def raw_layout(length: int) -> RawLayout:
    """Layout of a float32 vector."""
    return RawLayout(B16_N10, length)


class FloatSum:
    """The sum of float32 spans."""

    def __init__(self, count: int) -> None:
        self._sum = np.zeros(count, dtype=np.float32)

    def add(self, packed: npt.NDArray[np.uint8]) -> None:
        """Add one vector's span."""
        self._sum += packed.view(np.float32)

    def words(self) -> npt.NDArray[np.uint64]:
        """The sum so far, two values a word."""
        return self._sum.view(np.uint64)


class PlainStore(VectorStore):
    """Adds float32 vectors instead of masked ones."""

    def pieces(self, values: Floats) -> Iterator[npt.NDArray[np.uint8]]:
        """(length,) float32, piece by piece; the last padded to whole coordinates."""
        for index in range(self.layout.spans):
            span = self.layout.span(index)
            piece = np.zeros(span.coordinates, dtype=np.float32)
            piece[: span.values] = values[span.first : span.first + span.values]
            yield piece.view(np.uint8)

    def _span_sum(self, index: int) -> FloatSum:
        return FloatSum(self.layout.span(index).coordinates)

    def add(self, parts: tuple[Digest, ...], begun: RunningSum | None = None) -> Digest:
        """Store the sum of stored vectors; its name."""
        return self.keep(total.view(np.uint8) for total in self.totals(parts, begun))

    def read(self, name: Digest) -> Floats:
        """A whole stored vector, (length,)."""
        whole = np.concatenate([total.view(np.float32) for total in self.totals((name,))])
        return whole[: self.layout.length]


class PlainParty:
    """All roles of one party, by the names of messages of a masked session. No failover: adder 0 acts."""

    def __init__(self, plan: Plan, me: PartyId, name: Digest = NO_VECTOR) -> None:
        """`name`: our vector in the store, if we are a device with one."""
        self.plan = plan
        self.me = me
        self.outcome: events.Opened | events.Aborted | None = None
        self.proof: Result | None = None
        self._name = name
        self._lost: frozenset[PartyId] = frozenset()
        self._stored: set[Digest] = set()
        self._of_dealer: dict[PartyId, Digest] = {}
        self._of_child: dict[int, Digest] = {}
        self._combining: set[int] = set()
        self._total = NO_VECTOR
        self._ends = float("inf")
        self._stages = {i: stage for i, stage in enumerate(plan.stages) if stage.adders[0] == me}

    @property
    def lost(self) -> frozenset[PartyId]:
        """Whom we were told not to reach."""
        return self._lost

    @property
    def deadline(self) -> float | None:
        """The session's end: nothing that is lost on the way is sent again."""
        return self._ends if self.outcome is None else None

    def start(self, now: float) -> list[Effect]:
        """Offer the plan, and send our vector."""
        self._ends = now + self.plan.total_ms / 1000
        effects: list[Effect] = []
        if self.plan.initiator == self.me:
            others = tuple(party for party in self.plan.parties if party != self.me)
            effects += [Send(party, PlanOffer(self.plan)) for party in others]
        stage = self.plan.cluster_of(self.me)
        if stage is None or self._name == NO_VECTOR:
            return effects
        return [*effects, *self._pass_on(self.plan.stages[stage].adders[0], stage, self._name)]

    def expire(self, now: float) -> list[Effect]:
        """Give up at the end."""
        if self.outcome is not None or now < self._ends:
            return []
        self.outcome = events.Aborted("C-303", "a vector did not arrive in time", definite=False)
        return [Publish(self.outcome)]

    def receive(self, now: float, sender: PartyId, message: object) -> Sequence[Effect]:
        """Take a name, an arrival or a sum. Raises UnexpectedMessage."""
        del now
        match message:
            case ClusterVector() if message.child in self._stages:
                self._of_dealer[sender] = message.name
            case ClusterVector():
                self._of_child[message.child] = message.name
            case VectorStored():
                self._stored.add(message.name)
            case VectorsAdded():
                self._stored.add(message.name)
                return [*self._added(message.stage, message.name), *self._try_add()]
            case TotalVector():
                self._total = message.name
            case PeersLost():
                self._lost = frozenset(message.parties)
            case _:
                raise UnexpectedMessage("no message of a plain sum")
        return [*self._try_add(), *self._try_finish()]

    def _pass_on(self, to: PartyId, stage: int, name: Digest) -> list[Effect]:
        if to != self.me:
            return [Send(to, ClusterVector(stage, name)), Transfer((to,), name)]
        if self.plan.stages[stage].dealers and stage in self._stages:
            self._of_dealer[self.me] = name
        else:
            self._of_child[stage] = name
        return []

    def _try_add(self) -> list[Effect]:
        effects: list[Effect] = []
        for index, stage in self._stages.items():
            awaited = [dealer for dealer in stage.dealers if dealer not in self._lost]
            names = [self._of_dealer.get(dealer, NO_VECTOR) for dealer in awaited]
            names += [
                self._of_child.get(child, NO_VECTOR) for child in stage.children if not self._empty(child)
            ]
            if index not in self._combining and names and all(name in self._stored for name in names):
                self._combining.add(index)
                effects.append(Combine(index, tuple(names)))
        return effects

    def _empty(self, index: int) -> bool:
        """Whether nobody below this stage is left."""
        stage = self.plan.stages[index]
        return set(stage.dealers) <= self._lost and all(self._empty(child) for child in stage.children)

    def _added(self, stage: int, name: Digest) -> list[Effect]:
        if stage == self.plan.root:
            self._total = name
            return self._try_finish()
        parent = self.plan.parent_of(stage)
        to = self.plan.stages[parent].adders[0]
        if to == self.me:
            self._of_child[stage] = name
            return []
        return self._pass_on(to, stage, name)

    def _try_finish(self) -> list[Effect]:
        if self._total not in self._stored or self.outcome is not None:
            return []
        self.outcome = _opened(self.plan, tuple(d for d in self.plan.dealers if d not in self._lost))
        told: dict[PartyId, None] = {}
        for index, stage in self._stages.items():
            if index == self.plan.root:
                told[self.plan.initiator] = None
            if self.plan.bulk is not None and self.plan.bulk.to_all:
                told.update(dict.fromkeys(stage.dealers))
                told.update((self.plan.stages[child].adders[0], None) for child in stage.children)
        others = tuple(party for party in told if party != self.me and party not in self._lost)
        effects: list[Effect] = [Publish(self.outcome), Publish(events.MaskedTotal(self._total))]
        effects += [Send(party, TotalVector(self._total)) for party in others]
        return [*effects, Transfer(others, self._total)] if others else effects


def _opened(plan: Plan, contributors: tuple[PartyId, ...]) -> events.Opened:
    """An outcome of the form that nodes expect; nothing in it was certified."""
    nothing = field.as_elements([0])
    certificate = Certificate(Roster(plan.root, 0, (), contributors), ())
    return events.Opened(Result(certificate, nothing, (), ()), nothing, contributors, Digest(bytes(32)))
