"""Masked long vectors through the session machines: exact totals, failover, and what does not add up."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pump import Pump, make_keys, make_plan, seed_of
from vector_store import MemoryStore

from protocols.arithmetic.xof import Xof
from protocols.errors import UnattributableFault
from protocols.identifiers import Digest, PartyId
from protocols.machine import Combine, Effect, Transfer
from protocols.masking import one_shot
from protocols.masking.layout import Layout
from protocols.masking.parameters import B16_N10
from protocols.sessions import events
from protocols.sessions.messages import ClusterVector, Part, VectorsAdded, VectorStored
from protocols.sessions.party import SessionParty
from protocols.sessions.plan import Bulk, Plan

LENGTH = 3000
LAYOUT = Layout(B16_N10, LENGTH)


def bulk_plan(keys, to_all: bool = False) -> Plan:
    plan = make_plan(keys, length=B16_N10.dealt_length, min_sites=3)
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
            name = self.stores[k.party].put(packed)
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


def test_the_initiator_gets_the_exact_total_and_weights() -> None:
    keys = make_keys(8)
    weights = {k.party: 10 + i for i, k in enumerate(keys)}
    pump = BulkPump(bulk_plan(keys), keys, weights)
    pump.start()
    pump.run()
    sums, weight, opened = pump.unmasked(pump.plan.initiator)
    assert len(opened.contributors) == 8
    assert np.array_equal(sums, pump.expected(opened))
    assert weight == sum(weights.values())
    others = [e for k in keys[:-1] for e in pump.events[k.party] if isinstance(e, events.MaskedTotal)]
    assert len(others) <= len(pump.plan.stages[pump.plan.root].adders), "only adders and the initiator get it"


def test_every_device_can_get_the_total() -> None:
    keys = make_keys(8)
    pump = BulkPump(bulk_plan(keys, to_all=True), keys)
    pump.start()
    pump.run()
    for k in keys:
        sums, _, opened = pump.unmasked(k.party)
        assert np.array_equal(sums, pump.expected(opened))


def test_a_device_whose_vector_never_arrives_does_not_count() -> None:
    keys = make_keys(8)
    plan = bulk_plan(keys)
    pump = BulkPump(plan, keys)
    silent = plan.stages[0].dealers[-1]
    for adder in plan.stages[0].adders:
        pump.lose_transfers.add((silent, adder))
    if silent in plan.stages[0].adders:
        pytest.skip("the device is its own adder in this plan")
    pump.start()
    pump.run()
    sums, _, opened = pump.unmasked(plan.initiator)
    assert silent not in opened.contributors
    assert np.array_equal(sums, pump.expected(opened))


@pytest.mark.parametrize("moment", [3, 20, 60, 120, 200])
def test_an_adder_killed_at_any_moment(moment: int) -> None:
    keys = make_keys(8)
    plan = bulk_plan(keys)
    pump = BulkPump(plan, keys)
    victim = plan.stages[0].adders[0]
    delivered = 0

    def count(*_: object) -> None:
        nonlocal delivered
        delivered += 1
        if delivered == moment:
            pump.kill(victim)

    pump.hooks.append(count)
    pump.start()
    pump.run()
    outcome = pump.parties[plan.initiator].outcome
    if isinstance(outcome, events.Opened) and any(
        isinstance(e, events.MaskedTotal) for e in pump.events[plan.initiator]
    ):
        sums, _, opened = pump.unmasked(plan.initiator)
        assert np.array_equal(sums, pump.expected(opened))
    else:
        assert outcome is not None


def test_a_cluster_sum_that_is_not_the_rosters_does_not_unmask() -> None:
    keys = make_keys(8)
    plan = bulk_plan(keys)
    pump = BulkPump(plan, keys)
    liar = plan.stages[0].adders[0]
    honest_add = pump.stores[liar].add
    pump.stores[liar].add = lambda parts: honest_add(parts[:-1] if len(parts) == 4 else parts)
    pump.start()
    pump.run()
    with pytest.raises(UnattributableFault):
        pump.unmasked(plan.initiator)


def test_a_flipped_bit_in_the_total_is_noticed() -> None:
    keys = make_keys(8)
    plan = bulk_plan(keys)
    pump = BulkPump(plan, keys)
    pump.start()
    pump.run()
    opened = pump.parties[plan.initiator].outcome
    (total,) = [e.name for e in pump.events[plan.initiator] if isinstance(e, events.MaskedTotal)]
    words = pump.stores[plan.initiator].total((total,)).copy()
    words[77] ^= np.uint64(1 << 33)
    with pytest.raises(UnattributableFault):
        one_shot.unmask(LAYOUT, plan.session, words, opened.total, len(opened.contributors))


def test_only_adders_may_name_sums() -> None:
    keys = make_keys(8)
    plan = bulk_plan(keys)
    pump = BulkPump(plan, keys)
    stranger = next(k.party for k in keys if k.party not in plan.stages[0].adders)

    def meddle(sender: PartyId, to: PartyId, message: object) -> object:
        if sender == stranger and isinstance(message, Part):
            return ClusterVector(0, Digest(bytes(range(32))))
        return message

    pump.tamper = meddle
    pump.start()
    pump.run()
    sums, _, opened = pump.unmasked(plan.initiator)
    assert np.array_equal(sums, pump.expected(opened))
