"""A pump for sessions of masked vectors: every party has a store, transfers arrive whole and in order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from protocols.arithmetic.xof import Xof
from protocols.identifiers import PartyId
from protocols.machine import Combine, Effect, Fingerprint, Transfer
from protocols.masking import one_shot
from protocols.masking.layout import Layout
from protocols.masking.parameters import B16_N10
from protocols.sessions import events
from protocols.sessions.bulk_messages import Fingerprinted, VectorsAdded, VectorStored
from protocols.sessions.party import SessionParty
from protocols.sessions.plan import Bulk, Plan
from tests.scenarios.pump import Pump, make_plan, seed_of
from tests.scenarios.vector_store import MemoryStore

LENGTH = 3000
LAYOUT = Layout(B16_N10, LENGTH)


def bulk_plan(keys, to_all: bool = False, clusters: int = 2) -> Plan:
    plan = make_plan(keys, clusters, length=B16_N10.dealt_length, min_sites=3)
    return replace(plan, bulk=Bulk(B16_N10.name, LENGTH, to_all))


class BulkPump(Pump):
    """A pump whose parties have vector stores; a transfer arrives whole, in order with the messages."""

    def __init__(self, plan: Plan, keys, weights: dict[PartyId, int] | None = None) -> None:
        super().__init__(plan, keys, {}, coded=False)
        self.stores = {k.party: MemoryStore(LAYOUT) for k in keys}
        self.values: dict[PartyId, np.ndarray] = {}
        self.weights = weights or {}
        self.lose_transfers: set[tuple[PartyId, PartyId]] = set()
        for index, k in enumerate(keys):
            values = np.random.default_rng(index).integers(-30000, 30000, LENGTH).astype(np.int32)
            key = one_shot.MaskKey(B16_N10, Xof(seed_of(index), "mask key"))
            packed = one_shot.mask(LAYOUT, plan.session, key, values, Xof(seed_of(index), "mask noise"))
            weight = self.weights.get(k.party, 1)
            dealt = one_shot.dealing(LAYOUT, plan.session, key, values, weight)
            name = self.stores[k.party].mine = self.stores[k.party].put(packed)
            self.values[k.party] = values
            self.parties[k.party] = SessionParty(plan, k, seed_of(index), dealt, masked=name)

    def start(self) -> None:
        super().start()
        for party, machine in self.parties.items():
            if party not in self.dead:
                for name in list(self.stores[party].packed):
                    self._hear(party, machine, VectorStored(name))

    def _hear(self, party: PartyId, machine: SessionParty, message: object) -> None:
        self._carry_out(party, machine.receive(self.now, party, message))

    def _carry_out(self, party: PartyId, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Transfer):
                for to in effect.to:
                    if (party, to) not in self.lose_transfers:
                        self.queue.append((party, to, effect))
            elif isinstance(effect, Combine):
                name = self.stores[party].add(effect.parts)
                self._hear(party, self.parties[party], VectorsAdded(effect.stage, name))
            elif isinstance(effect, Fingerprint):
                words = self.stores[party].fingerprint(effect.challenge, effect.name)
                self._hear(party, self.parties[party], Fingerprinted(effect.challenge, effect.name, words))
            else:
                super()._carry_out(party, [effect])

    def _deliver(self, sender: PartyId, to: PartyId, message: object) -> None:
        if not isinstance(message, Transfer):
            super()._deliver(sender, to, message)
        elif to not in self.dead and sender not in self.dead:
            self.stores[to].packed[message.name] = self.stores[sender].packed[message.name]
            self._hear(to, self.parties[to], VectorStored(message.name))

    def unmasked(self, party: PartyId) -> tuple[np.ndarray, int, events.Opened]:
        """What `party` gets: sums, sum of weights, the opening."""
        opened = self.parties[party].outcome
        assert isinstance(opened, events.Opened), opened
        (total,) = [e.name for e in self.events[party] if isinstance(e, events.MaskedTotal)]
        words = self.stores[party].total((total,))
        sums, weight = one_shot.unmask(
            LAYOUT, self.plan.session, words, opened.total, len(opened.contributors)
        )
        return sums, weight, opened

    def expected(self, opened: events.Opened) -> np.ndarray:
        return sum(self.values[party].astype(np.int64) for party in opened.contributors)
