"""A definite abort convinces everybody, by signed ballots; fewer ballots, or forged ones, nobody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocols.errors import LocalMisuse, MalformedMessage
from protocols.sessions import events, roster
from protocols.sessions.abort_messages import AbortVote
from protocols.sessions.aborting import AbortTally, audience, cast, check_proof, refusal
from protocols.sessions.assembly import first_generation
from protocols.sessions.handing import Handovers
from protocols.sessions.handover import generations, successor_seats
from protocols.sessions.messages import (
    AbortProof,
    Certificate,
    Handover,
    HandoverCertificate,
    Held,
    Proposal,
    Roster,
    Vote,
)
from protocols.sessions.posts import Posts
from protocols.sessions.rootwork import INITIATOR_PATIENCE_S, RootWork
from protocols.sessions.succession import Succession
from protocols.sessions.vectors import Vectors
from tests.scenarios.pump import Pump, make_inputs, make_keys, make_plan

KEYS = make_keys(8)
PLAN = make_plan(KEYS, length=2, size=(4, 1))
ROOT = PLAN.stages[PLAN.root]
BY_PARTY = {key.party: key for key in KEYS}
SPARE = ROOT.substitutes[0].party


def vote_of(party, voted=0, agreed=0, released=False):
    return cast(PLAN, BY_PARTY[party], AbortVote("C-303", "late", voted, agreed, released))


def vote(seat, voted=0, agreed=0, released=False):
    return vote_of(ROOT.members[seat], voted, agreed, released)


def proof(*votes):
    return AbortProof(votes)


def signed_by_a_quorum(assembly, label, subject):
    """Of seats 0, 1 and 3; the member of seat 2 is the one that leaves."""
    seats = (0, 1, 3)
    return tuple(roster.cast(BY_PARTY[assembly.members[s]], s, label, subject) for s in seats)


def certified(assembly, successors=()):
    made = Roster(assembly.stage, assembly.generation, (), (), successors)
    subject = roster.roster_digest(assembly.session, made)
    return Certificate(made, signed_by_a_quorum(assembly, roster.ROSTER, subject))


FIRST = first_generation(PLAN, PLAN.root)
INTERIM = certified(FIRST, successor_seats(FIRST, frozenset({ROOT.members[2]})))
HANDOVER = Handover(FIRST.stage, 0, INTERIM.roster.successors)
HANDED_OVER = HandoverCertificate(
    HANDOVER,
    signed_by_a_quorum(FIRST, roster.HANDOVER, roster.handover_digest(FIRST.session, HANDOVER)),
    certified(FIRST),
)


def test_members_that_voted_for_nothing_or_all_of_them_make_an_abort_certain():
    check_proof(PLAN, proof(vote(0), vote(1), vote(3)))  # n - q + 1 + t = 3
    check_proof(PLAN, proof(*(vote(seat, voted=1) for seat in range(4))))
    one_agreed = [vote(seat, voted=1, agreed=int(seat == 0)) for seat in range(4)]
    check_proof(PLAN, proof(*one_agreed))


@pytest.mark.parametrize(
    "votes",
    [
        (vote(0), vote(1)),
        (vote(0), vote(1), vote(1)),
        (vote(0), vote(1), vote(2, voted=1)),
        (vote(0), vote(1), vote_of(SPARE)),
        (vote(0), vote(1), vote(2, released=True)),
        tuple(vote(seat, voted=1, released=seat == 3) for seat in range(4)),
        tuple(vote(seat, voted=1, agreed=int(seat < 2)) for seat in range(4)),
        (vote(0), vote(1), replace(vote(2), pledge=None)),
        (vote(0), vote(1), replace(vote(2, voted=1), voted=0)),
        (vote(0), vote(1), replace(vote(2), pledge=replace(vote(2).pledge, party=ROOT.members[3]))),
        (vote(0), vote(1), replace(vote(2), reason="another")),
        (),
    ],
)
def test_less_proves_nothing(votes):
    with pytest.raises(MalformedMessage):
        check_proof(PLAN, proof(*votes))


def test_an_interim_roster_that_may_be_certified_is_no_matter_if_its_successors_never_vote():
    """Two of four voted for it: with a liar's ballot it may have its certificate, which nobody has seen."""
    old = [vote(seat, voted=1, agreed=int(seat < 2)) for seat in range(4)]
    spare = [vote_of(seat.party) for seat in ROOT.substitutes]
    check_proof(PLAN, proof(*old, *spare))
    check_proof(PLAN, proof(*old, *spare[1:]))  # one liar in four seats cannot vote for all
    for too_few in (
        (*old, *spare[2:]),
        (*old[:3], *spare),
        (*old, vote_of(SPARE, voted=2), *spare[2:]),
        (*old[:3], vote(3, voted=1, released=True), *spare),
    ):
        with pytest.raises(MalformedMessage):
            check_proof(PLAN, proof(*too_few))


def test_after_an_interim_handover_the_new_generation_is_what_counts():
    """Who voted for the interim roster opened nothing; but old ballots say nothing of the substitute's."""
    old = [vote(seat, voted=1, agreed=1) for seat in (0, 1, 3)]
    shown = AbortProof(tuple(old), (INTERIM,))
    check_proof(PLAN, shown)  # three of the new generation, too, in which they voted for nothing
    check_proof(PLAN, AbortProof((*old[:2], vote_of(SPARE)), (INTERIM,)))
    with pytest.raises(MalformedMessage):
        check_proof(PLAN, proof(*old, vote(2)))  # all of the old one: the new one may open
    for bad in (
        (old[0], old[1], vote(2)),  # seat 2 is another's now
        (old[0], vote(1, voted=2, agreed=1), vote_of(SPARE)),  # voted in the new one
        (old[0], vote(1, voted=2, released=True), vote_of(SPARE)),
    ):
        with pytest.raises(MalformedMessage):
            check_proof(PLAN, AbortProof(bad, (INTERIM,)))
    everybody = [
        vote_of(m, voted=2, agreed=1) for m in generations(PLAN, PLAN.root, (INTERIM,), ())[1].members
    ]
    check_proof(PLAN, AbortProof(tuple(everybody), (INTERIM,)))


def test_after_a_handover_of_the_total_nobody_of_either_generation_may_open():
    new = [vote(0, voted=1, agreed=1), vote(1, voted=1, agreed=1), vote_of(SPARE)]
    with pytest.raises(MalformedMessage):
        check_proof(PLAN, AbortProof(tuple(new), (), (HANDED_OVER,)))
    both = [*new, vote(3, voted=1, agreed=1), vote(2, voted=1)]
    check_proof(PLAN, AbortProof(tuple(both), (), (HANDED_OVER,)))
    left = [*both[:4], vote(2, voted=1, released=True)]
    with pytest.raises(MalformedMessage):
        check_proof(PLAN, AbortProof(tuple(left), (), (HANDED_OVER,)))


def test_forged_links_prove_nothing():
    votes = tuple(vote(seat, voted=1, agreed=1) for seat in (0, 1, 3))
    with pytest.raises(MalformedMessage):
        check_proof(PLAN, AbortProof(votes, (replace(INTERIM, ballots=INTERIM.ballots[:2]),)))


def tally():
    succession = Succession(PLAN)
    handovers = Handovers(PLAN, KEYS[0], succession, Posts(PLAN, KEYS[0], Vectors(PLAN), succession))
    return AbortTally(PLAN, RootWork(PLAN, KEYS[0], bytes(32), succession, handovers)), succession


def test_ballots_are_judged_anew_when_a_generation_more_is_known():
    """Members of the old generation abort while those of the new one may open: that is not definite."""
    ballots, succession = tally()
    for seat in range(4):
        ballots.add(ROOT.members[seat], vote(seat, voted=1, agreed=int(seat != 2)))
    assert ballots.proof is None
    succession.enter(INTERIM)
    shown = ballots.proof
    assert shown is not None
    check_proof(PLAN, shown)
    assert shown.interim == (INTERIM,)


def test_ballots_of_the_old_generation_alone_prove_nothing_once_the_new_one_voted():
    ballots, succession = tally()
    succession.enter(INTERIM)
    for seat in (0, 1):
        ballots.add(ROOT.members[seat], vote(seat, voted=2, agreed=1))
    for seat in (2, 3):
        ballots.add(ROOT.members[seat], vote(seat, voted=1))
    assert ballots.proof is None
    ballots.add(SPARE, vote_of(SPARE))
    assert ballots.proof is not None


def test_a_forged_ballot_is_not_counted():
    ballots, _ = tally()
    for forged in (vote(1), replace(vote(0), pledge=None), replace(vote(0), reason="another")):
        with pytest.raises(MalformedMessage):
            ballots.add(ROOT.members[0], forged)
    assert not ballots.votes


def test_a_stranger_has_no_ballot():
    outsider = make_keys(9)[8]
    assert outsider.party not in PLAN.parties
    with pytest.raises(LocalMisuse):
        refusal(PLAN, outsider, "no")


def test_a_refusal_is_a_ballot():
    ballots, _ = tally()
    for seat in (0, 1):
        ballots.add(ROOT.members[seat], vote(seat))
    ballots.add(ROOT.members[2], refusal(PLAN, BY_PARTY[ROOT.members[2]], "another view"))
    check_proof(PLAN, ballots.proof)


def test_one_gives_up_with_too_many_others():
    ballots, _ = tally()
    me = ROOT.members[3]
    ballots.add(ROOT.members[0], vote(0))
    assert ballots.followed(me) is None  # it may be a liar's
    ballots.add(ROOT.members[1], vote(1, voted=1, released=True))
    assert ballots.followed(me) is None
    ballots.add(ROOT.members[2], vote(2, voted=1))
    assert ballots.followed(me) == vote(0)


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


def closed_but(missing):
    """All but one member closed, and gave up waiting for its ballot."""
    pump = Pump(PLAN, KEYS, make_inputs(PLAN))

    def tamper(sender, to, message):
        voted = isinstance(message, Vote) or (isinstance(message, Held) and message.voted is not None)
        counted = voted and message.stage == PLAN.root
        return None if counted or (isinstance(message, AbortVote) and sender == missing) else message

    pump.tamper = tamper
    pump.start()
    pump.run(until=PLAN.total_ms / 1000 + 2 * INITIATOR_PATIENCE_S)
    return pump


def test_a_ballot_that_comes_late_clears_up_an_end_in_doubt():
    missing = ROOT.members[2]
    pump = closed_but(missing)
    there = [party for party in pump.parties if party != missing]
    assert all(events.in_doubt(pump.parties[party].outcome) for party in there)
    pump.tamper = None
    closed = pump.parties[missing]
    ballot = closed.aborts.own(BY_PARTY[missing], "C-303", "late", closed._members)
    for party in audience(PLAN):
        if party != missing:
            pump.inject(missing, party, ballot)
    pump.run(until=1.0)
    for party in there:
        assert pump.parties[party].outcome.definite, "everybody is told"
        assert pump.parties[party].proof is not None
