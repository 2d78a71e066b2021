"""A definite abort convinces everybody, by signed ballots; fewer ballots, or forged ones, nobody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocols.errors import MalformedMessage
from protocols.sessions import aborting, events
from protocols.sessions.aborting import AbortTally, cast, check_proof
from protocols.sessions.messages import AbortProof, AbortVote, Proposal
from tests.scenarios.pump import Pump, make_inputs, make_keys, make_plan

KEYS = make_keys(8)
PLAN = make_plan(KEYS, length=2, size=(4, 1))
ROOT = PLAN.stages[PLAN.root]
BY_PARTY = {key.party: key for key in KEYS}


def vote(seat, voted=False, released=False):
    return cast(PLAN, BY_PARTY[ROOT.members[seat]], "C-303", "late", voted=voted, released=released)


def proof(*votes):
    return AbortProof(votes)


def test_members_that_voted_for_nothing_or_all_of_them_make_an_abort_certain():
    check_proof(PLAN, proof(vote(0), vote(1), vote(3)))  # n - q + 1 + t = 3
    check_proof(PLAN, proof(*(vote(seat, voted=True) for seat in range(4))))


@pytest.mark.parametrize(
    "votes",
    [
        (vote(0), vote(1)),
        (vote(0), vote(1), vote(1)),
        (vote(0), vote(1), vote(2, voted=True)),
        (vote(0), vote(1), vote(2, released=True)),
        tuple(vote(seat, voted=True, released=seat == 3) for seat in range(4)),
        (vote(0), vote(1), replace(vote(2), ballot=None)),
        (vote(0), vote(1), replace(vote(2, voted=True), voted=False)),
        (vote(0), vote(1), replace(vote(2), ballot=replace(vote(2).ballot, seat=3))),
        (vote(0), vote(1), replace(vote(2), reason="another")),
        (),
    ],
)
def test_less_proves_nothing(votes):
    with pytest.raises(MalformedMessage):
        check_proof(PLAN, proof(*votes))


def test_a_forged_ballot_is_not_counted():
    tally = AbortTally(PLAN)
    with pytest.raises(MalformedMessage):
        tally.add(ROOT.members[0], vote(1))
    assert not tally.votes


def test_a_stranger_has_no_ballot():
    outsider = next(key for key in KEYS if key.party not in ROOT.members)
    assert cast(PLAN, outsider, "C-303", "late", voted=False, released=False).ballot is None


def test_unsigned_refusals_count_for_who_heard_them_and_prove_nothing():
    tally = AbortTally(PLAN)
    tally.add(ROOT.members[0], vote(0))
    tally.add(ROOT.members[1], vote(1))
    tally.add(ROOT.members[2], AbortVote("C-305", "refused", voted=False, released=False))
    assert tally.aborted is not None
    assert tally.aborted.definite
    assert tally.proof is None


def test_everybody_learns_that_nothing_was_opened_even_if_the_initiator_is_gone():
    pump = Pump(PLAN, KEYS, make_inputs(PLAN))
    pump.tamper = lambda sender, to, m: None if isinstance(m, Proposal) else m
    pump.dead.add(PLAN.initiator)
    pump.start()
    pump.run()
    for party, outcome in pump.outcomes().items():
        assert isinstance(outcome, events.Aborted)
        assert outcome.definite
        shown = pump.parties[party].proof
        check_proof(PLAN, shown)
        assert all(not member._held for member in pump.parties[party]._members.values())
    assert aborting.AbortTally(PLAN).proof is None
