"""What owners know for certain of a program's end: over whose values it opens, or that it never does."""

from __future__ import annotations

import heapq

import pytest

from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.programs import renouncing
from protocols.programs.events import Certified, Unopened
from protocols.programs.messages import Layer, StartProposal, StartVote
from protocols.programs.plan import Limits
from protocols.programs.records import StartVoted
from protocols.sessions import events
from tests.scenarios.program_pump import Pump
from tests.scenarios.test_program_sessions import TABLES, WORK


def told(pump: Pump, kind: type) -> dict:
    return {party: event for party, event in pump.events if isinstance(event, kind)}


def settled(pump: Pump) -> None:
    """Let what is under way arrive."""
    while pump._heap and pump._heap[0][0] <= pump.now + 1:
        pump.now, _, action = heapq.heappop(pump._heap)
        action()


def test_every_owner_learns_the_roster_before_anything_is_opened() -> None:
    pump = Pump(WORK, TABLES, hook=lambda pump, s, to, m: None if isinstance(m, Layer) else m)
    pump.run(until=0.5)
    assert set(told(pump, Certified)) == set(pump.plan.owners)
    assert {event.roster for event in told(pump, Certified).values()} == {pump.plan.owners}


def test_a_program_that_ends_before_its_start_is_proven_to_open_nothing() -> None:
    """No member computes a program beyond the plan's limits: each says so to every owner."""
    pump = Pump(WORK, TABLES, limits=Limits(1, 1, 1))
    outcome = pump.run()
    assert isinstance(outcome, events.Aborted)
    assert outcome.definite
    settled(pump)
    assert set(told(pump, Unopened)) == set(pump.plan.owners)
    assert not told(pump, Certified)
    assert all(pump.machines[owner].unopened for owner in pump.plan.owners)


def test_too_few_renounce_while_too_many_voted() -> None:
    """Three of four voted and the asker holds their ballots back: nobody is told that it is over for good."""

    def hook(pump, sender, to, message):
        if isinstance(message, StartVote) and sender != pump.party(1):
            return None
        return message

    pump = Pump(WORK, TABLES, hook=hook)
    pump.run()
    settled(pump)
    assert not told(pump, Unopened)


def test_who_renounced_votes_for_no_start_and_who_voted_does_not_renounce() -> None:
    held = []

    def hook(pump, sender, to, message):
        if isinstance(message, StartProposal) and to == pump.party(1):
            held.append(message)
            return None
        return message

    pump = Pump(WORK, TABLES, hook=hook)
    pump.run(until=1.0)
    (first, second) = (pump.machines[pump.party(at)].member for at in (1, 2))
    before = [record for owner, record in pump.records if owner == pump.party(1)]
    assert not any(isinstance(record, StartVoted) for record in before)
    first.first = None  # it heard of no certificate either
    effects = first.renounce()
    assert first.renounce() == []
    assert isinstance(effects[0].record, StartVoted)
    with pytest.raises(UnexpectedMessage, match="there is none"):
        first.receive(pump.now, pump.party(0), held[0])
    assert second.renounce() == []


def test_forged_and_repeated_ballots_do_not_count() -> None:
    pump = Pump(WORK, TABLES)
    count = renouncing.Renunciations(pump.plan)
    good = renouncing.ballot(pump.keys[1], pump.plan, 1)
    for _ in range(5):
        count.take(pump.party(1), good)
    assert not count.complete
    with pytest.raises(MalformedMessage, match="forged"):
        count.take(pump.party(2), good)
    for at in (2, 3):
        count.take(pump.party(at), renouncing.ballot(pump.keys[at], pump.plan, at))
    assert count.complete
