"""Shares go out together: few messages where all is well, nobody held up where it is not."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.sessions import events, parcels
from protocols.sessions.messages import Deal, Held, Part, Parts
from tests.scenarios.pump import Pump, make_inputs, make_keys, make_plan
from tools.sim.stand_ins import fast_crypto

KEYS = make_keys(8)


@pytest.fixture(autouse=True)
def _stand_ins():
    with fast_crypto():
        yield


def session(length=5, **options):
    plan = make_plan(KEYS, size=(7, 2), length=length)
    inputs = make_inputs(plan)
    return Pump(plan, KEYS, inputs, **options), inputs


def run(pump):
    pump.start()
    pump.run()


def check_total(pump, inputs):
    expected = field.total(np.stack(list(inputs.values())))
    for outcome in pump.outcomes().values():
        assert isinstance(outcome, events.Opened)
        assert np.array_equal(outcome.total, expected)


def of_resharing(pump):
    """Classes of the messages by which the members of the root came to their sub-shares."""
    found = Counter()
    for _, _, message, _ in pump.wire:
        parts = message.parts if isinstance(message, Parts) else (message,)
        if isinstance(message, Part | Parts) and parts[0].dealing.stage == pump.plan.root:
            found[type(message)] += 1
    return found


def test_each_member_gets_the_shares_of_a_resharing_in_one_message_and_answers_once():
    pump, inputs = session()
    run(pump)
    check_total(pump, inputs)
    root = pump.plan.stages[pump.plan.root]
    assert of_resharing(pump) == {Parts: root.size - 1}, "the adder is a member and does not write to itself"
    receipts = [m for _, _, m, _ in pump.wire if isinstance(m, Held) and m.stage == pump.plan.root]
    assert len(receipts) == root.size - 1
    assert pump.now == 100.0


def test_a_member_that_does_not_reshare_does_not_hold_up_the_shares_of_the_others():
    """Its dealing is lost: theirs go out after PARTS_WAIT_S, though nobody says that it is gone."""
    silent = KEYS[2].party
    times = []

    def lose(sender, _, message):
        reshared = isinstance(message, Deal) and message.certificate is not None
        return None if reshared and sender == silent else message

    pump, inputs = session(tamper=lose)
    pump.hooks.append(lambda _, __, message: isinstance(message, Parts) and times.append(pump.now))
    run(pump)
    check_total(pump, inputs)
    assert set(times) == {100.0 + parcels.PARTS_WAIT_S}


def test_long_shares_travel_one_by_one_and_at_once(monkeypatch):
    monkeypatch.setattr(parcels, "PARCEL_BYTES", 512)
    pump, inputs = session(length=100)
    run(pump)
    check_total(pump, inputs)
    assert set(of_resharing(pump)) == {Part}
