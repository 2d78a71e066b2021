"""Sessions of which one party cheats, and what must have come of it."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.sessions import events
from tests.scenarios.pump import Pump, make_inputs, make_keys, make_plan
from tools.sim.stand_ins import fast_crypto

KEYS = make_keys(8)
ID = [key.party for key in KEYS]
REAL = ("inconsistent", "sealing", "complaint", "anothers_name")
"""Tests with these words in their names use the real signatures and sealings."""


@pytest.fixture(autouse=True)
def stand_ins(request):
    if any(word in request.node.name for word in REAL):
        yield
    else:
        with fast_crypto():
            yield


def session(size=(4, 1), clusters=2, tamper=None, **options):
    plan = make_plan(KEYS, size=size, clusters=clusters, length=3, min_sites=options.pop("min_sites", 2))
    inputs = make_inputs(plan)
    for absent in options.pop("absent", ()):
        del inputs[absent]
    return Pump(plan, KEYS, inputs, tamper=tamper, **options), inputs


def opened_by_all(pump, inputs, without=()):
    """Everybody live opened the same total, over all dealers but `without`."""
    expected = field.total(np.stack([value for party, value in inputs.items() if party not in without]))
    outcomes = pump.outcomes()
    for party, outcome in outcomes.items():
        assert isinstance(outcome, events.Opened), (ID.index(party), outcome)
        assert set(outcome.contributors) == set(inputs) - set(without)
        assert np.array_equal(outcome.total, expected)


def run(pump):
    pump.start()
    pump.run()


def dealing_with(pump, party, place, name, crooked):
    """`party` deals at its start with the function `name` of the module `place` replaced."""
    machine = pump.parties[party]
    honest = machine.start

    def start(now):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(place, name, crooked(getattr(place, name)))
            return honest(now)

    machine.start = start
