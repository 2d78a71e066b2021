"""Adders that cheat, forged and repeated messages, and refusals: who is named, and what is opened."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from protocols.errors import MalformedMessage
from protocols.sessions import events
from protocols.sessions.abort_messages import AbortVote
from protocols.sessions.aborting import refusal
from protocols.sessions.messages import (
    NO_SOURCE,
    NO_VECTOR,
    Ballot,
    Certificate,
    Complaint,
    Deal,
    Decline,
    Group,
    OpeningShare,
    Part,
    Proposal,
    Result,
    ResultVote,
    Roster,
    Vote,
)
from tests.scenarios.cheats import ID, KEYS, opened_by_all, run, session, stand_ins
from tests.scenarios.pump import Pump, make_inputs, make_plan
from tools.sim.stand_ins import fast_crypto

__all__ = ["stand_ins"]


# -- adders -------------------------------------------------------------------------------------------


def test_an_adder_that_leaves_a_dealer_out_is_seen_by_that_dealer():
    pump, inputs = session(tamper=lambda s, to, m: None if isinstance(m, Deal) and s == ID[6] else m)
    run(pump)
    opened_by_all(pump, inputs, without=[ID[6]])
    dealer = pump.parties[ID[6]]._dealers[0]
    assert dealer.certificate is not None
    assert not dealer.counted


def test_two_rosters_never_both_get_certified():
    certified = {}

    def tamper(sender, to, message):
        if isinstance(message, Certificate):
            certified.setdefault((message.roster.stage, message.roster.generation), set()).add(message.roster)
        if isinstance(message, Proposal) and message.roster.stage == 0 and ID.index(to) % 2:
            group = message.roster.groups[0]
            kept = group.entries[:1]
            fewer = replace(
                message.roster, groups=(replace(group, entries=kept),), contributors=(kept[0].dealer,)
            )
            return replace(message, roster=fewer)
        return message

    pump, _ = session(size=(7, 2), clusters=1, tamper=tamper)
    run(pump)
    assert all(len(rosters) == 1 for rosters in certified.values())
    assert not pump.named()
    initiator = pump.outcomes()[pump.plan.initiator]
    assert isinstance(initiator, events.Aborted)
    assert initiator.definite


@pytest.mark.parametrize("noticed_after", [0.5, 3.0, 8.0])
def test_an_adder_that_drops_everything_is_replaced_once_it_is_lost(noticed_after):
    pump, inputs = session()
    first = pump.plan.stages[0].adders[0]
    pump.tamper = lambda s, to, m: None if s == first else m
    pump.start()
    pump.run(until=noticed_after)
    assert not any(isinstance(outcome, events.Opened) for outcome in pump.outcomes().values())
    pump.kill(first)
    pump.run()
    opened_by_all(pump, inputs, without=[first])


def test_an_adder_out_of_turn_is_not_listened_to():
    """The second rank proposes a roster of nobody, at a cluster and at the root, before the first."""
    pump, inputs = session(min_sites=4)
    root = pump.plan.root
    second = pump.plan.stages[root].adders[1]
    pump.start()
    for member in set(pump.plan.stages[root].members) - {second}:
        pump.queue.appendleft((second, member, Proposal(Roster(root, 0, (), ()), ())))
    cluster = pump.plan.stages[0]
    empty = Roster(0, 0, (Group(-1, NO_SOURCE, NO_VECTOR, ()),), ())
    for member in set(cluster.members) - {cluster.adders[1]}:
        pump.queue.appendleft((cluster.adders[1], member, Proposal(empty, ())))
    pump.run()
    opened_by_all(pump, inputs)


def test_a_stranger_to_the_root_cannot_make_it_abort():
    pump, inputs = session(min_sites=4)
    root = pump.plan.root
    pump.start()
    for member in pump.plan.stages[root].members:
        pump.queue.appendleft((ID[7], member, Proposal(Roster(root, 0, (), ()), ())))
    pump.inject(ID[6], pump.plan.initiator, AbortVote("C-301", "no", 0, 0, released=False))
    pump.run()
    opened_by_all(pump, inputs)


def test_an_abort_is_not_definite_while_a_held_back_certificate_may_yet_be_opened():
    """A lying adder keeps the root's certificate until most members have closed, then shows it to all."""
    pump, _ = session(size=(7, 2))
    root = pump.plan.stages[pump.plan.root]
    adder, helper = root.adders[0], next(m for m in root.members if m != root.adders[0])
    honest = [member for member in root.members if member not in (adder, helper)]
    held = []

    def tamper(sender, to, message):
        if isinstance(message, Certificate) and message.roster.stage == pump.plan.root:
            held.append((sender, to, message))
            return None
        return message

    pump.tamper = tamper
    pump.start()
    pump.run(until=5.0)
    assert held
    closing, late = honest[:3], honest[3:]
    pump.tamper = lambda s, to, m: None if isinstance(m, AbortVote) and to in late else tamper(s, to, m)
    for member in closing:  # their clocks are ahead, or they heard of the plan first
        pump._carry_out(member, pump.parties[member].expire(pump.now + pump.plan.total_ms / 1000))
    for liar in (adder, helper):
        if liar != pump.plan.initiator:
            keys = next(key for key in KEYS if key.party == liar)
            pump.inject(liar, pump.plan.initiator, refusal(pump.plan, keys, "late"))
    pump.run(until=0.0)
    outcome = pump.parties[pump.plan.initiator].outcome
    pump.tamper = lambda sender, to, m: None if isinstance(m, AbortVote) else m
    pump.queue.extend(held)
    pump.run(until=3.0)
    shown = {s for s, _, m, _ in pump.wire if isinstance(m, OpeningShare) and s in honest}
    assert shown & set(late), "with the liars' own shares these are enough to open"
    assert not (isinstance(outcome, events.Aborted) and outcome.definite)


# -- forgeries and replays ------------------------------------------------------------------------------


def finished(**options):
    pump, inputs = session(**options)
    run(pump)
    return pump, inputs


def test_forged_certificates_and_results_are_refused():
    done, _ = finished()
    result = next(o for o in done.outcomes().values()).result
    certificate = result.certificate
    fewer = replace(certificate, ballots=certificate.ballots[:-1])
    twice = replace(certificate, ballots=(*certificate.ballots[:-1], certificate.ballots[0]))
    blank = replace(certificate, ballots=tuple(Ballot(i, bytes(64)) for i in range(4)))
    moved = replace(
        certificate, ballots=tuple(Ballot((b.seat + 1) % 4, b.signature) for b in certificate.ballots)
    )
    other = replace(certificate.roster, contributors=certificate.roster.contributors[:-1])
    changed = replace(certificate, roster=other)
    pump, _ = session()
    pump.start()
    member = pump.parties[ID[2]]
    for forged in (fewer, twice, blank, moved, changed):
        with pytest.raises(MalformedMessage):
            member.receive(100.0, ID[1], forged)
        with pytest.raises(MalformedMessage):
            member.receive(100.0, ID[1], replace(result, certificate=forged))
    total = result.total.copy()
    total[0] ^= np.uint64(1)
    for forged in (
        replace(result, total=total),
        replace(result, total=result.total[:-1]),
        replace(result, ballots=result.ballots[:1]),
        replace(result, ballots=(result.ballots[0], result.ballots[0])),
        replace(result, ballots=tuple(Ballot(b.seat, bytes(64)) for b in result.ballots)),
    ):
        with pytest.raises(MalformedMessage):
            member.receive(100.0, ID[1], forged)
    assert member.outcome is None
    member.receive(100.0, ID[1], result)
    assert isinstance(member.outcome, events.Opened)


def test_a_session_takes_nothing_of_another_session():
    old, _ = finished()
    keys = KEYS
    plan = make_plan(keys, size=(4, 1), length=3, nonce=b"another")
    inputs = make_inputs(plan, salt=7)
    pump = Pump(plan, keys, inputs)
    pump.start()
    signed = (Deal, Part, Complaint, Vote, Certificate, ResultVote, Result)
    replayed = [(s, to, m) for s, to, m, _ in old.wire if isinstance(m, signed)]
    for item in replayed:
        pump.queue.appendleft(item)
    pump.run()
    opened_by_all(pump, inputs)
    assert len(pump.errors) >= len(replayed) * 0.7  # the rest is ignored: nothing was proposed yet
    assert not pump.named()


@pytest.mark.parametrize("seed", range(4))
def test_every_message_twice_and_in_any_order(seed):
    def twice(sender, to, message):
        pump.queue.append((sender, to, message))
        return message

    with fast_crypto():
        pump, inputs = session(tamper=twice, order=random.Random(seed))
        run(pump)
    opened_by_all(pump, inputs)
    assert not pump.named()


# -- refusals -----------------------------------------------------------------------------------------


def test_too_few_sites_abort_definitely_and_say_so():
    pump, _ = session(min_sites=4, absent=ID[3:])
    run(pump)
    outcome = pump.outcomes()[pump.plan.initiator]
    assert isinstance(outcome, events.Aborted)
    assert outcome.definite
    assert outcome.code == "C-301"
    assert "3 sites contributed, 4 are required" in outcome.reason
    assert not any(isinstance(m, OpeningShare) for _, _, m, _ in pump.wire)
    assert not any(isinstance(o, events.Opened) for o in pump.outcomes().values())


def test_refusals_reach_the_initiator_with_their_reasons_and_members_go_on_serving():
    refusals = {ID[0]: "policy forbids mean", ID[2]: "unknown column", ID[1]: "no consent"}
    pump, inputs = session(absent=list(refusals), refusals=refusals)
    run(pump)
    opened_by_all(pump, inputs)
    said = {e.party: e.reason for e in pump.events[pump.plan.initiator] if isinstance(e, events.Declined)}
    assert said == refusals


def test_root_members_that_refuse_the_whole_plan_abort_it_definitely():
    """They never start; the initiator need not wait for its deadline to know that nothing can be opened."""
    pump, _ = session()
    refusing = pump.plan.stages[pump.plan.root].members[:3]
    pump.dead.update(refusing)
    pump.start()
    initiator = pump.parties[pump.plan.initiator]
    for member in refusing:
        initiator.receive(pump.now, member, Decline(0, "not with me", whole=True))
    assert initiator.outcome is None, "a word that is not signed binds nobody"
    for member in refusing:
        keys = next(key for key in KEYS if key.party == member)
        initiator.receive(pump.now, member, refusal(pump.plan, keys, "not with me"))
    assert isinstance(initiator.outcome, events.Aborted)
    assert (initiator.outcome.code, initiator.outcome.definite) == ("C-305", True)
    pump.run()
    assert not any(isinstance(outcome, events.Opened) for outcome in pump.outcomes().values())
