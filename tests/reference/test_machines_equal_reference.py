"""The machines reach, from the same seeds, exactly what the straight-line reference reaches."""

from __future__ import annotations

import numpy as np
import pytest

from protocols import reference
from protocols.arithmetic import field
from protocols.sessions import events
from protocols.sessions.collecting import Member
from tests.scenarios.pump import Pump, make_inputs, make_keys, make_plan, seed_of


def session(size, middle, clusters, withhold=()):
    keys = make_keys(8)
    plan = make_plan(keys, clusters=clusters, size=size, middle=middle, length=4)
    inputs = {p: v for p, v in make_inputs(plan).items() if p not in withhold}
    return keys, plan, inputs


@pytest.fixture
def sums(monkeypatch):
    """Every share of a sum that any member comes to, by (stage, generation, seat), before it is erased."""
    kept = {}
    erase = Member.erase

    def remember(self):
        if self.sum is not None:
            kept[self.assembly.stage, self.assembly.generation, self.seat] = (
                self.certificate.roster,
                self.sum,
            )
        erase(self)

    monkeypatch.setattr(Member, "erase", remember)
    return kept


@pytest.mark.parametrize(
    ("size", "middle", "clusters"),
    [((3, 1), False, 1), ((3, 1), True, 2), ((4, 1), False, 2), ((4, 1), True, 2), ((7, 2), False, 2)],
)
def test_same_rosters_shares_and_total(sums, size, middle, clusters):
    keys, plan, inputs = session(size, middle, clusters)
    by_party = {k.party: k for k in keys}
    seeds = {k.party: seed_of(i) for i, k in enumerate(keys)}
    total, roster = reference.run(plan, by_party, seeds, inputs)
    assert np.array_equal(total, field.total(np.stack(list(inputs.values()))))

    pump = Pump(plan, keys, inputs)
    pump.start()
    pump.run()

    for outcome in pump.outcomes().values():
        assert isinstance(outcome, events.Opened)
        assert outcome.result.certificate.roster == roster
        assert np.array_equal(outcome.total, total)
    wanted = reference.sums(plan, by_party, seeds, inputs)
    assert sums.keys() == {(stage, 0, seat) for stage in wanted for seat in range(size[0])}
    for (stage, _, seat), (certified, share) in sums.items():
        assert certified == wanted[stage].roster
        assert np.array_equal(share, wanted[stage].shares[seat])
    assert not pump.errors
    assert not pump.named()


def test_a_device_that_declines_is_left_out_of_both():
    keys, plan, inputs = session((4, 1), False, 2)
    left_out = keys[3].party
    del inputs[left_out]
    total, roster = reference.run(
        plan, {k.party: k for k in keys}, {k.party: seed_of(i) for i, k in enumerate(keys)}, inputs
    )
    pump = Pump(plan, keys, inputs, refusals={left_out: "policy"})
    pump.start()
    pump.run()
    assert left_out not in roster.contributors
    for outcome in pump.outcomes().values():
        assert outcome.result.certificate.roster == roster
        assert np.array_equal(outcome.total, total)
