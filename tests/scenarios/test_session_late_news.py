"""Who lacks what the others know does not end the session: an adder without the handed-over sum, a voter that
was down as its time ran out.
"""

from __future__ import annotations

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.sessions import events
from protocols.sessions.abort_messages import AbortVote
from protocols.sessions.messages import Certificate, Deal, HandoverCertificate, Proposal, Roster, Vote
from protocols.sessions.rootwork import HOPELESS_S, INITIATOR_PATIENCE_S
from tests.scenarios.generations_pump import ScriptedCrashPump, make_session
from tests.scenarios.test_session_handover import kill_when
from tools.sim.stand_ins import fast_crypto


@pytest.fixture(autouse=True)
def _stand_ins():
    with fast_crypto():
        yield


def check_total(pump, inputs):
    expected = field.total(np.stack(list(inputs.values())))
    for outcome in pump.outcomes().values():
        assert isinstance(outcome, events.Opened), outcome
        assert np.array_equal(outcome.total, expected)


@pytest.mark.parametrize("lies", [False, True])
def test_an_adder_that_lacks_the_sum_that_was_handed_over_ends_nothing(lies):
    """Nothing reaches it, and it proposes nobody if it `lies`; once it is gone the next rank goes on."""
    pump, inputs, parts = make_session(clusters=1)
    root, adder = pump.plan.root, parts["adders root"][0]
    kill_when(
        pump, lambda s, to, m: isinstance(m, Certificate) and m.roster.stage == root, [parts["root"][2]]
    )
    handed_over, proposed, given_up = [], [], []

    def tamper(sender, to, message):
        dealt = isinstance(message, Deal) and (message.dealing.stage, message.dealing.generation) == (root, 1)
        return None if dealt and to == adder else message

    def look(sender, to, message):
        if isinstance(message, HandoverCertificate) and sender == adder:
            handed_over.append(to)
            if lies:
                pump.inject(adder, to, Proposal(Roster(root, 1, (), ()), ()))
        if isinstance(message, Proposal) and message.roster.generation == 1 and sender == adder:
            proposed.append(message.roster)
        if isinstance(message, AbortVote):
            given_up.append(sender)

    pump.tamper = tamper
    pump.hooks.append(look)
    pump.at(100.0 + pump.plan.collect_ms / 1000 * 2.5, lambda: pump.kill(adder))
    pump.start()
    pump.run(100.0)
    assert handed_over
    assert bool(proposed) == lies
    check_total(pump, inputs)
    assert not given_up


def voter_back_at(moment):
    """A voter goes down before it sees the certificate; without it there are too few to open the total.

    The others see it gone as their time runs out: they wait for it as it does for them.
    """
    pump, inputs, parts = make_session(ScriptedCrashPump, clusters=1, spare=0)
    voter, other = parts["root"][2:]
    votes = []

    def look(sender, to, message):
        if isinstance(message, Vote) and message.stage == pump.plan.root:
            votes.append(sender)
            if len(votes) == 4:
                pump.kill(voter)
                pump.kill(other)

    def back():
        pump.back_at[voter] = 0
        pump.come_back(voter)
        pump._carry_out(voter, pump.parties[voter].expire(pump.now))  # as a node does: its time is over

    pump.hooks.append(look)
    pump.at(moment, back)
    pump.start()
    return pump, inputs, voter


END = 120.0


@pytest.mark.parametrize("late_s", [0.1, 2.0])
def test_a_voter_that_comes_back_after_its_time_is_told_the_certificate_before_it_closes(late_s):
    pump, inputs, _ = voter_back_at(END + late_s)
    pump.run(100.0)
    check_total(pump, inputs)


def test_who_is_told_nothing_waits_once_and_ends():
    pump, _, voter = voter_back_at(END + 2.0)
    pump.tamper = lambda sender, to, m: None if to == voter and isinstance(m, Certificate) else m
    pump.run(100.0)
    assert all(isinstance(outcome, events.Aborted) for outcome in pump.outcomes().values())
    assert pump.now <= END + 2.0 + INITIATOR_PATIENCE_S
    assert voter in pump.sayings.promised


def test_who_got_the_total_handed_over_does_not_lose_hope():
    """Half of the new generation is gone for a while; the total opens when they are back."""
    pump, inputs, parts = make_session(ScriptedCrashPump, clusters=1)
    root = pump.plan.root
    kill_when(
        pump, lambda s, to, m: isinstance(m, Certificate) and m.roster.stage == root, [parts["root"][2]]
    )
    gone = parts["root"][:2]
    down = []

    def look(sender, to, message):
        if isinstance(message, HandoverCertificate) and not down:
            down.append(pump.now)
            for party in gone:
                pump.kill(party)

    def back():
        for party in gone:
            pump.back_at[party] = 0
            pump.come_back(party)

    pump.hooks.append(look)
    pump.at(END - 3.0, back)
    pump.start()
    pump.run(100.0)
    assert down[0] < END - 3.0 - 2 * HOPELESS_S
    expected = field.total(np.stack(list(inputs.values())))
    for party in parts["root"][3:]:
        assert np.array_equal(pump.outcomes()[party].total, expected)
