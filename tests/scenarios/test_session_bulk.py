"""Masked long vectors through the session machines: exact totals, failover, and what does not add up."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.errors import UnattributableFault
from protocols.identifiers import Digest, PartyId
from protocols.masking import one_shot
from protocols.sessions import events
from protocols.sessions.bulk_messages import ClusterVector
from protocols.sessions.messages import Part
from tests.scenarios.bulk_pump import LAYOUT, BulkPump, bulk_plan
from tests.scenarios.pump import make_keys


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


def test_a_cluster_sum_that_is_not_the_rosters_is_no_total() -> None:
    """In a tree the audit tells that some adder lied; who takes the total all the same cannot unmask it."""
    keys = make_keys(8)
    plan = bulk_plan(keys)
    pump = BulkPump(plan, keys)
    liar = plan.stages[0].adders[0]
    honest_add = pump.stores[liar].add
    pump.stores[liar].add = lambda parts: honest_add(parts[:-1] if len(parts) == 4 else parts)
    pump.start()
    pump.run()
    told = pump.events[plan.initiator]
    assert any(isinstance(event, events.TotalLost) for event in told)
    assert not any(isinstance(event, events.MaskedTotal) for event in told)
    opened = pump.parties[plan.initiator].outcome
    words = pump.stores[plan.initiator].total((pump.parties[plan.initiator].bulk.total,))
    with pytest.raises(UnattributableFault):
        one_shot.unmask(LAYOUT, plan.session, words, opened.total, len(opened.contributors))


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
