"""Clusters of many devices: shares go to members in batches, some as seeds; one liar stands alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.sessions import dealing, events
from protocols.sessions.messages import Deal, Part, Parts
from protocols.sessions.parcels import PARTS_WAIT_S
from protocols.wire import sealing
from tests.scenarios.bulk_pump import BulkPump, bulk_plan
from tests.scenarios.pump import make_keys

START = 100.0
KEYS = make_keys(12)
PLAN = bulk_plan(KEYS, clusters=1)
LIAR = next(k.party for k in KEYS if k.party not in (*PLAN.stages[0].adders, PLAN.initiator))


def counted(pump):
    """Messages of each class that were delivered."""
    kinds = []
    pump.hooks.append(lambda sender, to, message: kinds.append(type(message)))
    return kinds


def opened(pump, without=()):
    sums, _, outcome = pump.unmasked(PLAN.initiator)
    assert set(outcome.contributors) == set(PLAN.dealers) - set(without)
    assert np.array_equal(sums, pump.expected(outcome))


def lie(pump, spoil, seat=0):
    """LIAR seals to a seat what `spoil` makes of its plaintext."""
    machine, victim = pump.parties[LIAR], PLAN.stages[0].seats[seat].sealing_key
    honest_start, honest_seal = machine.start, sealing.seal

    def seal(recipient, plaintext, context, seed):
        return honest_seal(recipient, spoil(plaintext) if recipient == victim else plaintext, context, seed)

    def start(now):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dealing.sealing, "seal", seal)
            return honest_start(now)

    machine.start = start


def test_shares_go_out_together_once_all_have_dealt():
    pump = BulkPump(PLAN, KEYS)
    kinds = counted(pump)
    pump.start()
    pump.run()
    opened(pump)
    members = PLAN.stages[0].size - 1  # the adder is one of them, and does not write to itself
    assert kinds.count(Parts) == members
    assert pump.now == START


def test_who_says_nothing_holds_the_others_up_for_a_moment_only():
    pump = BulkPump(PLAN, KEYS)
    pump.tamper = lambda sender, _, message: None if sender == LIAR and isinstance(message, Deal) else message
    times = []
    pump.hooks.append(lambda sender, to, message: isinstance(message, Parts) and times.append(pump.now))
    pump.start()
    pump.run()
    opened(pump, without=[LIAR])
    assert times
    assert set(times) == {START + PARTS_WAIT_S}


@pytest.mark.parametrize(
    "spoil",
    [lambda seed: seed[::-1], lambda seed: seed[:-1], lambda seed: seed + b"\0", lambda _: bytes(8 * 524)],
    ids=["another seed", "short", "long", "a share instead of a seed"],
)
def test_a_false_seed_excludes_and_names_its_dealer_only(spoil):
    pump = BulkPump(PLAN, KEYS)
    lie(pump, spoil)
    pump.start()
    pump.run()
    opened(pump, without=[LIAR])
    named = [e for told in pump.events.values() for e in told if isinstance(e, events.Named)]
    assert {e.party for e in named} == {LIAR}
    assert all(e.proven for e in named)


def test_a_false_share_at_a_seat_without_a_seed_is_found_in_its_batch():
    pump = BulkPump(PLAN, KEYS)
    lie(pump, lambda share: bytes([share[0] ^ 1]) + share[1:], seat=6)
    pump.start()
    pump.run()
    opened(pump, without=[LIAR])


def test_a_batch_with_a_part_that_is_forged_counts_for_the_others():
    """An adder that changes one part harms no other dealer's."""
    pump = BulkPump(PLAN, KEYS)

    def forged(part):
        if part.dealing.dealer != LIAR:
            return part
        return Part(replace(part.dealing, signature=bytes(64)), part.sealed)

    def forge(sender, to, message):
        if not isinstance(message, Parts):
            return message
        return Parts(tuple(forged(part) for part in message.parts))

    pump.tamper = forge
    pump.start()
    pump.run()
    opened(pump, without=[LIAR])
