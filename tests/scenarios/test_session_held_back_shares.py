"""Who may have been replaced while it was away is not the first to open; who promised to abort is gone."""

from __future__ import annotations

import pytest

from protocols.sessions import events
from protocols.sessions.abort_messages import AbortVote
from protocols.sessions.aborting import audience, refusal
from protocols.sessions.messages import (
    Certificate,
    CheckShares,
    HandoverCertificate,
    HandoverProposal,
    OpeningShare,
    PeersLost,
    Result,
)
from protocols.sessions.rootwork import RETELL_S
from tests.scenarios.generations_pump import ScriptedCrashPump, make_session
from tests.scenarios.test_session_handover import kill_when, root_certified
from tests.scenarios.test_session_late_news import check_total
from tools.sim.stand_ins import fast_crypto

BACK = 106.0


@pytest.fixture(autouse=True)
def _stand_ins():
    with fast_crypto():
        yield


def kill_once_certified(pump, victim):
    """As soon as the root's final roster is under way."""
    kill_when(pump, root_certified(pump), [victim])


def come_back(pump, party):
    pump.back_at[party] = 0
    pump.come_back(party)
    pump._carry_out(party, pump.parties[party].expire(pump.now))  # as a node does: its wait is over


@pytest.mark.parametrize("lost_others", [1, 3])
def test_who_lost_as_many_as_could_replace_it_waits_for_their_news_before_it_opens(lost_others):
    """Its links were down for a moment before it came to its share; nobody else's share reaches it."""
    pump, _, parts = make_session(ScriptedCrashPump, clusters=1)
    away, *others = parts["root"]
    returned, shown = [], []

    def look(sender, to, message):
        if isinstance(message, Certificate) and message.roster.stage == pump.plan.root and not returned:
            for lost in (others[:lost_others], ()):
                pump._carry_out(away, pump.parties[away].receive(pump.now, away, PeersLost(tuple(lost))))
            returned.append(pump.now)
        if isinstance(message, OpeningShare) and sender == away:
            shown.append(pump.now)

    pump.hooks.append(look)
    pump.tamper = lambda s, to, m: None if to == away and isinstance(m, OpeningShare | Result) else m
    pump.start()
    pump.run(RETELL_S + 5.0)
    held_back_s = RETELL_S if lost_others == 3 else 0.0
    assert held_back_s <= shown[0] - returned[0] < held_back_s + 0.5


def test_a_root_that_was_down_altogether_opens_once_everybody_had_time_to_speak():
    """All that are left crash while they wait for a handover that nobody proposes, and come back together."""
    pump, inputs, parts = make_session(ScriptedCrashPump, clusters=1, spare=1)
    root = parts["root"]
    certified, shown = set(), []
    kill_once_certified(pump, root[3])

    def look(sender, to, message):
        if isinstance(message, Certificate) and message.roster.stage == pump.plan.root:
            certified.add(to)
            if certified.issuperset(root[:3]) and pump.lives[root[0]] == 1:
                for member in root[:3]:
                    pump.kill(member)
        if isinstance(message, OpeningShare):
            shown.append(pump.now)

    def back():
        for member in root[:3]:
            come_back(pump, member)

    pump.tamper = lambda sender, to, m: None if isinstance(m, HandoverProposal) else m
    pump.hooks.append(look)
    pump.at(BACK, back)
    pump.start()
    pump.run(100.0)
    check_total(pump, inputs)
    assert all(pump.lives[member] == 2 for member in root[:3])
    assert BACK + RETELL_S <= min(shown) < BACK + RETELL_S + 0.5


@pytest.mark.parametrize("told", [True, False])
def test_a_substitute_that_declined_is_passed_over(told):
    pump, inputs, parts = make_session(ScriptedCrashPump, clusters=1)
    declines, seats, began = parts["spare root"][0], set(), []
    kill_once_certified(pump, parts["root"][2])

    def look(sender, to, message):
        if told and not began:
            began.append(pump.now)
            ballot = refusal(pump.plan, pump.keys[declines], "of an epoch that is over")
            for party in audience(pump.plan):
                if party != declines:
                    pump.inject(declines, party, ballot)
        if isinstance(message, HandoverCertificate):
            seats.update(seat.party for seat in message.handover.seats)

    pump.hooks.append(look)
    pump.start()
    pump.run(100.0)
    check_total(pump, inputs)
    assert (declines in seats) is not told


@pytest.mark.parametrize("declining", [1, 2])
def test_nobody_waits_for_root_members_that_declined(declining):
    """The total is opened by whom there is; too few of them give up for certain, before their time is up."""
    pump, _, parts = make_session(ScriptedCrashPump, clusters=1, spare=0)
    silent = parts["root"][:declining]
    pump.tamper = lambda s, to, m: None if {s, to} & set(silent) and not isinstance(m, AbortVote) else m

    def decline():
        for party in silent:
            ballot = refusal(pump.plan, pump.keys[party], "of an epoch that is over")
            for other in audience(pump.plan):
                pump.inject(party, other, ballot)

    pump.at(100.1, decline)
    pump.start()
    pump.run(15.0)
    present = {party: outcome for party, outcome in pump.outcomes().items() if party not in silent}
    if declining == 1:
        assert all(isinstance(outcome, events.Opened) for outcome in present.values())
    else:
        assert all(outcome is not None and outcome.definite for outcome in present.values())


def test_members_tell_who_was_replaced_though_the_adder_is_away():
    """Else it would wait for its adders' news only, open alone, and leave the end in doubt."""
    pump, inputs, parts = make_session(ScriptedCrashPump, clusters=1)
    replaced, told = parts["root"][3], set()
    kill_once_certified(pump, replaced)

    def look(sender, to, message):
        if isinstance(message, HandoverCertificate) and to == replaced:
            told.add(sender)

    pump.hooks.append(look)
    pump.tamper = lambda s, to, m: None if to == replaced and s in parts["adders root"] else m
    pump.at(BACK, lambda: come_back(pump, replaced))
    pump.start()
    pump.run(100.0)
    assert told == set(parts["root"][:3])
    check_total(pump, inputs)


def test_who_knows_of_a_certified_roster_promises_nothing_while_others_may_have_opened():
    """One member opens as time runs out; what the others lack for their shares comes two seconds later."""
    pump, inputs, parts = make_session(ScriptedCrashPump, clusters=1, spare=0)
    first, *others = parts["root"]
    end = 100.0 + pump.plan.total_ms / 1000
    opened_at = []

    def tamper(sender, to, message):
        if isinstance(message, OpeningShare) and sender == first:
            opened_at.append(pump.now)
        lacking = isinstance(message, CheckShares | OpeningShare) and message.stage == pump.plan.root
        return None if lacking and to in others and pump.now < end + 2.0 else message

    def links_flap():
        for party in parts["root"]:
            for lost in (tuple(p for p in parts["root"] if p != party), ()):
                pump._carry_out(party, pump.parties[party].receive(pump.now, party, PeersLost(lost)))

    pump.tamper = tamper
    pump.at(end + 2.0, links_flap)
    pump.start()
    pump.run(100.0)
    assert opened_at[0] < end
    assert not pump.sayings.promised
    check_total(pump, inputs)
