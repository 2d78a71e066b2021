"""An adder that is there and does nothing is passed over in time; no two rosters come of it."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.sessions import events
from protocols.sessions.messages import Certificate, Part, Parts, Proposal
from protocols.sessions.progress import Progress, collecting_s
from tests.scenarios.pump import Pump, make_inputs, make_keys, make_plan
from tools.sim.stand_ins import fast_crypto

KEYS = make_keys(8)
SHAPES = {"two levels": {"size": (4, 1)}, "three levels": {"size": (4, 1), "middle": True}}


@pytest.fixture(autouse=True)
def _stand_ins():
    with fast_crypto():
        yield


def session(shape, tamper):
    plan = make_plan(KEYS, length=2, **SHAPES[shape])
    inputs = make_inputs(plan)
    pump = Pump(plan, KEYS, inputs, tamper=tamper(plan))
    pump.start()
    pump.run()
    return pump, inputs


def check(pump, inputs, sites):
    certified = {}
    for _, _, message, _ in pump.wire:
        if isinstance(message, Certificate):
            slot = (message.roster.stage, message.roster.generation)
            assert certified.setdefault(slot, message.roster) == message.roster
    for outcome in pump.outcomes().values():
        assert isinstance(outcome, events.Opened)
        expected = field.total(np.stack([inputs[party] for party in outcome.contributors]))
        assert np.array_equal(outcome.total, expected)
        assert len(outcome.contributors) == sites
    assert not pump.named()


KINDS = {
    "says nothing as an adder": (Part, Parts, Proposal, Certificate),
    "relays and never proposes": (Proposal, Certificate),
    "never certifies": (Certificate,),
}


@pytest.mark.parametrize("shape", list(SHAPES))
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("level", ["leaf", "root"])
def test_a_silent_adder_costs_time_and_nothing_else(shape, kind, level):
    def tamper(plan):
        stage = 0 if level == "leaf" else plan.root
        silent = plan.stages[stage].adders[0]

        def bend(sender, to, message):
            roster = getattr(message, "roster", getattr(message, "dealing", None))
            if isinstance(message, Parts):
                roster = message.parts[0].dealing
            about = getattr(roster, "stage", None)
            return (
                None if sender == silent and isinstance(message, KINDS[kind]) and about == stage else message
            )

        return bend

    pump, inputs = session(shape, tamper)
    check(pump, inputs, len(KEYS))
    stage = 0 if level == "leaf" else pump.plan.root
    assert pump.now - 100.0 <= collecting_s(pump.plan, stage) + 4.0


def test_an_adder_that_proposes_to_a_few_only_is_passed_over_and_its_roster_is_the_one():
    def tamper(plan):
        adder, few = plan.stages[0].adders[0], plan.stages[0].members[:2]
        return lambda s, to, m: (
            None if s == adder and isinstance(m, Proposal) and m.roster.stage == 0 and to not in few else m
        )

    pump, inputs = session("two levels", tamper)
    check(pump, inputs, len(KEYS))


@pytest.mark.parametrize("rank", [1, 2])
def test_several_ranks_in_a_row(rank):
    def tamper(plan):
        silent = plan.stages[plan.root].adders[: rank + 1]

        def bend(sender, to, message):
            roster = getattr(message, "roster", None)
            mute = sender in silent[:rank] and isinstance(message, Proposal | Certificate)
            return None if mute and getattr(roster, "stage", None) == plan.root else message

        return bend

    pump, inputs = session("two levels", tamper)
    check(pump, inputs, len(KEYS))


def test_an_adder_that_works_is_never_passed_over_and_the_last_rank_never():
    plan = make_plan(KEYS, length=2, **SHAPES["two levels"])
    progress = Progress(plan, KEYS[0].party)
    progress.start(10.0)
    stage = min(plan.stages_of(KEYS[0].party))
    ranks = len(plan.stages[stage].adders)
    for _ in range(50):
        due = progress.deadline
        if due is None:
            break
        assert due > 10.0 + plan.collect_ms / 1000
        progress.expire(due)
    assert progress.deadline is None
    assert len(progress.stalled(stage)) == ranks - 1
    other = Progress(plan, KEYS[0].party)
    other.start(10.0)
    for index in range(len(plan.stages)):
        other.certified(index)
    assert other.deadline is None


def test_passing_over_and_losses_add_up():
    """The first rank is silent, the second is lost: the third does it."""

    def tamper(plan):
        silent = plan.stages[0].adders[0]
        return lambda s, to, m: (
            None if s == silent and isinstance(m, Proposal | Certificate) and m.roster.stage == 0 else m
        )

    plan = make_plan(KEYS, length=2, **SHAPES["two levels"])
    inputs = make_inputs(plan)
    pump = Pump(plan, KEYS, inputs, tamper=tamper(plan))
    second = plan.stages[0].adders[1]
    pump.dead.add(second)
    pump.start()
    pump.notice()
    pump.run()
    check(pump, inputs, len(KEYS) - 1)
