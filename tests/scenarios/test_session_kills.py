"""Each party of a session killed at each step: the right total over a certified roster, or an abort."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.sessions import events
from protocols.sessions.rootwork import INITIATOR_PATIENCE_S
from tests.scenarios.pump import Pump, make_inputs, make_keys, make_plan
from tools.sim.stand_ins import fast_crypto

KEYS = make_keys(8)
SHAPES = {
    "three of three": {"size": (3, 1)},
    "two levels": {"size": (4, 1)},
    "three levels": {"size": (4, 1), "middle": True},
    "larger": {"size": (7, 2)},
}


@pytest.fixture(autouse=True)
def _stand_ins():
    with fast_crypto():
        yield


def session(shape):
    plan = make_plan(KEYS, length=2, **SHAPES[shape])
    return plan, make_inputs(plan)


def check_end(pump, inputs):
    """At most one total, right for its roster; everybody ended in time; nobody honest was named."""
    outcomes = pump.outcomes()
    totals = set()
    for outcome in outcomes.values():
        assert isinstance(outcome, events.Opened | events.Aborted)
        if isinstance(outcome, events.Opened):
            totals.add((outcome.total.tobytes(), outcome.contributors))
            expected = field.total(np.stack([inputs[party] for party in outcome.contributors]))
            assert np.array_equal(outcome.total, expected)
            assert len(outcome.contributors) >= pump.plan.job.min_sites
    assert len(totals) <= 1
    definite = [o for o in outcomes.values() if isinstance(o, events.Aborted) and o.definite]
    assert not (totals and definite)
    assert pump.now <= 100.0 + pump.plan.total_ms / 1000 + INITIATOR_PATIENCE_S
    assert not pump.named()
    return outcomes


def steps(shape):
    plan, inputs = session(shape)
    pump = Pump(plan, KEYS, inputs, coded=False)
    pump.start()
    pump.run()
    check_end(pump, inputs)
    return pump.delivered


def kill(shape, index, step, noticed):
    plan, inputs = session(shape)
    pump = Pump(plan, KEYS, inputs, coded=False)
    pump.kill_at[step] = (KEYS[index].party, noticed)
    pump.start()
    pump.run()
    return pump, check_end(pump, inputs)


def every(shape, noticed, stride):
    for index in range(len(KEYS)):
        for step in range(1 + (index * 5) % stride, steps(shape) + 1, stride):
            yield index, step, kill(shape, index, step, noticed)


@pytest.mark.parametrize(("shape", "stride"), [("two levels", 37), ("three levels", 97), ("larger", 401)])
def test_a_noticed_death_never_costs_the_result(shape, stride):
    for index, step, (pump, outcomes) in every(shape, True, stride):
        kinds = {type(outcome) for outcome in outcomes.values()}
        assert kinds == {events.Opened}, f"party {index} killed at step {step}"
        assert pump.now - 100.0 <= 1.0, f"party {index} killed at step {step} costs more than a second"


@pytest.mark.parametrize(("shape", "stride"), [("two levels", 67), ("larger", 601)])
def test_an_unnoticed_death_leads_to_the_total_or_to_an_abort(shape, stride):
    for _ in every(shape, False, stride):
        pass


def test_three_of_three_corrects_nothing_but_never_opens_wrongly():
    for _ in every("three of three", True, 41):
        pass


def test_a_roster_one_member_voted_for_outlives_the_adder_that_dealt_and_died():
    """The root's adder reshared, proposed to one member only, and died: nobody can send its dealing again."""
    for step in range(139, 145):
        _, outcomes = kill("two levels", 0, step, True)
        assert {type(outcome) for outcome in outcomes.values()} == {events.Opened}


@pytest.mark.long
@pytest.mark.parametrize("noticed", [True, False])
@pytest.mark.parametrize("shape", list(SHAPES))
def test_every_party_at_every_step(shape, noticed):
    for index, step, (_, outcomes) in every(shape, noticed, 1):
        if noticed and shape != "three of three":
            kinds = {type(outcome) for outcome in outcomes.values()}
            assert kinds == {events.Opened}, f"party {index} killed at step {step}"


@pytest.mark.parametrize("pair", [(0, 1), (1, 4), (2, 7), (0, 5)])
def test_two_deaths_at_different_times(pair):
    for first in (3, 150, 300):
        plan, inputs = session("larger")
        pump = Pump(plan, KEYS, inputs, coded=False)
        pump.kill_at = {first: (KEYS[pair[0]].party, True), first + 25: (KEYS[pair[1]].party, True)}
        pump.start()
        pump.run()
        check_end(pump, inputs)
