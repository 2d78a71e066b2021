"""The network falls into two sides: at most one total, one roster a committee; what is lost is said again.

Links between the sides lose everything for a while; each side sees the other as lost. Parties are those of
the runtime, which tell again what they told to who comes back.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.sessions import events
from protocols.sessions.messages import Certificate, OpeningShare, PeersLost
from tests.scenarios.crash_pump import CrashPump
from tests.scenarios.pump import make_inputs, make_keys, make_plan
from tools.sim.stand_ins import fast_crypto

KEYS = make_keys(8)
ID = [key.party for key in KEYS]


@pytest.fixture(autouse=True)
def _stand_ins():
    with fast_crypto():
        yield


class Cut(CrashPump):
    """From delivery `begin` on to `end` (None: for ever) nothing passes between `side` and the rest."""

    def __init__(self, side, begin, end, size=(4, 1), noticed=True, order=None):
        plan = make_plan(KEYS, length=2, size=size)
        self.inputs = make_inputs(plan)
        super().__init__(plan, KEYS, self.inputs, coded=False, order=order)
        self.side, self.begin, self.end = {ID[index] for index in side}, begin, end
        self.sees = noticed
        self.cut = False
        self.seen = 0

    def _see(self):
        for party, machine in self.parties.items():
            mine = party in self.side
            others = [p for p in self.parties if (p in self.side) != mine] if self.cut else []
            lost = PeersLost(tuple(sorted(others)))
            self._carry_out(party, machine.receive(self.now, party, lost))

    def _turn(self):
        self.seen += 1
        if self.seen == self.begin:
            self.cut = True
            if self.sees:
                self._see()
        elif self.seen == self.end:
            self.heal()

    def heal(self):
        if not self.cut:
            return
        if not self.sees:  # links break at the latest when they are made anew
            self._see()
        self.cut, self.end = False, None
        self._see()

    def _deliver(self, sender, to, message):
        self._turn()
        if self.cut and (sender in self.side) != (to in self.side):
            return
        super()._deliver(sender, to, message)

    def run(self, until=60.0):
        while self.queue:
            self._deliver(*self._next())
        if self.end is not None:
            self.heal()
        super().run(until)


def check(pump, all_open):
    """No contradiction, one roster a committee and one total; with `all_open` everybody has it."""
    assert not pump.sayings.contradictions
    assert not pump.named()
    totals, definite = set(), []
    for outcome in pump.outcomes().values():
        assert outcome is not None
        if isinstance(outcome, events.Opened):
            expected = field.total(np.stack([pump.inputs[party] for party in outcome.contributors]))
            assert np.array_equal(outcome.total, expected)
            totals.add((outcome.total.tobytes(), outcome.contributors))
        elif outcome.definite:
            definite.append(outcome)
    assert len(totals) <= 1
    assert not (totals and definite)
    if all_open:
        kinds = {type(outcome) for outcome in pump.outcomes().values()}
        assert kinds == {events.Opened}, kinds
    return totals


def certified_rosters(pump):
    rosters = {}
    for machine in pump.parties.values():
        for slot, member in machine.party._members.items():
            if member.certificate is not None:
                rosters.setdefault(slot, set()).add(member.certificate.roster)
    return rosters


SIDES = [(0,), (0, 1), (0, 2, 4), (1, 3, 5, 7), (7,), (3, 4, 5, 6)]


@pytest.mark.parametrize("noticed", [True, False])
@pytest.mark.parametrize("side", SIDES)
def test_two_sides_for_ever_open_one_roster_at_most(side, noticed):
    for begin in range(2, 330, 41):
        pump = Cut(side, begin, None, noticed=noticed)
        pump.start()
        pump.run()
        check(pump, all_open=False)
        assert all(len(rosters) == 1 for rosters in certified_rosters(pump).values())


@pytest.mark.parametrize("noticed", [True, False])
@pytest.mark.parametrize("side", SIDES)
def test_a_cut_that_heals_in_time_costs_nothing_but_time(side, noticed):
    for begin in range(2, 330, 41):
        pump = Cut(side, begin, begin + 60, noticed=noticed)
        pump.start()
        pump.run()
        check(pump, all_open=True)
        assert all(len(rosters) == 1 for rosters in certified_rosters(pump).values())


@pytest.mark.parametrize("seed", range(8))
def test_partitions_of_larger_committees_in_any_order(seed):
    dice = random.Random(seed)
    side = dice.sample(range(8), dice.randint(1, 4))
    begin = dice.randint(2, 500)
    end = dice.choice((None, begin + dice.randint(5, 200)))
    pump = Cut(side, begin, end, size=(7, 2), noticed=dice.random() < 0.5, order=dice)
    pump.start()
    pump.run()
    check(pump, all_open=False)


def test_a_side_without_a_quorum_of_the_root_opens_nothing():
    """Three of four seats are a quorum; two and two are none: neither side opens, whoever waits for whom."""
    pump = Cut((0, 1), 2, None)
    root = pump.plan.stages[pump.plan.root].members
    assert set(root) == set(ID[:4])
    opened = []
    pump.hooks.append(lambda s, to, m: opened.append(s) if isinstance(m, OpeningShare) else None)
    pump.start()
    pump.run()
    assert not check(pump, all_open=False)
    assert not opened
    assert not any(isinstance(m, Certificate) and m.roster.stage == pump.plan.root for *_, m, _ in pump.wire)
