"""Parties that cheat, one way each: what they can do, who is named for it, and that the total stays right."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.errors import MalformedMessage
from protocols.sessions import dealing, events, roster
from protocols.sessions.messages import (
    NO_SOURCE,
    NO_VECTOR,
    AbortVote,
    Ballot,
    Certificate,
    CheckShares,
    Complaint,
    Deal,
    Decline,
    Group,
    Held,
    OpeningShare,
    Part,
    Proposal,
    Result,
    ResultVote,
    Roster,
    Vote,
)
from protocols.sessions.party import SessionParty
from tests.scenarios.pump import Pump, make_inputs, make_keys, make_plan, seed_of
from tools.sim.stand_ins import fast_crypto

KEYS = make_keys(8)
ID = [key.party for key in KEYS]
REAL = ("inconsistent", "sealing", "complaint", "anothers_name")
"""Tests with these words in their names use the real signatures and sealings."""


@pytest.fixture(autouse=True)
def _stand_ins(request):
    if any(word in request.node.name for word in REAL):
        yield
    else:
        with fast_crypto():
            yield


def session(size=(4, 1), clusters=2, tamper=None, **options):
    plan = make_plan(KEYS, size=size, clusters=clusters, length=3, min_sites=options.pop("min_sites", 2))
    inputs = make_inputs(plan)
    for absent in options.pop("absent", ()):
        del inputs[absent]
    return Pump(plan, KEYS, inputs, tamper=tamper, **options), inputs


def opened_by_all(pump, inputs, without=()):
    """Everybody live opened the same total, over all dealers but `without`."""
    expected = field.total(np.stack([value for party, value in inputs.items() if party not in without]))
    outcomes = pump.outcomes()
    for party, outcome in outcomes.items():
        assert isinstance(outcome, events.Opened), (ID.index(party), outcome)
        assert set(outcome.contributors) == set(inputs) - set(without)
        assert np.array_equal(outcome.total, expected)


def run(pump):
    pump.start()
    pump.run()


def dealing_with(pump, party, place, name, crooked):
    """`party` deals at its start with the function `name` of the module `place` replaced."""
    machine = pump.parties[party]
    honest = machine.start

    def start(now):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(place, name, crooked(getattr(place, name)))
            return honest(now)

    machine.start = start


# -- dealers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad_seats", [(0,), (2,), (0, 1, 2, 3)])
def test_inconsistent_shares_exclude_and_name_their_dealer_only(bad_seats):
    pump, inputs = session()

    def crooked(honest):
        def shares(polynomials, n):
            values = honest(polynomials, n)
            for seat in bad_seats:
                values[seat, 0] ^= np.uint64(1)
            return values

        return shares

    dealing_with(pump, ID[6], dealing.shamir, "shares", crooked)
    run(pump)
    opened_by_all(pump, inputs, without=[ID[6]])
    assert pump.named() == pump.named(proven=True) == {ID[6]}
    assert any(e.party == ID[6] for e in pump.events[pump.plan.initiator] if isinstance(e, events.Named))


@pytest.mark.parametrize("damage", ["cipher", "point", "short"])
def test_a_sealing_that_does_not_open_excludes_its_dealer(damage):
    pump, inputs = session()
    victim = pump.plan.stages[0].seats[1].sealing_key

    def crooked(honest):
        def seal(recipient, plaintext, context, seed):
            blob = honest(recipient, plaintext, context, seed)
            if recipient != victim:
                return blob
            return {
                "cipher": blob[:-1] + bytes([blob[-1] ^ 1]),
                "point": bytes(32) + blob[32:],
                "short": b"x",
            }[damage]

        return seal

    dealing_with(pump, ID[4], dealing.sealing, "seal", crooked)
    run(pump)
    opened_by_all(pump, inputs, without=[ID[4]])
    assert pump.named() == pump.named(proven=True) == {ID[4]}


def second_deal(pump, index, inputs):
    other = SessionParty(pump.plan, KEYS[index], seed_of(99), inputs[ID[index]])
    return next(e.message for e in other.start(100.0) if isinstance(getattr(e, "message", None), Deal))


def test_dealing_twice_is_proven_and_excludes():
    pump, inputs = session()
    pump.start()
    pump.inject(ID[6], pump.plan.stages[0].adders[0], second_deal(pump, 6, inputs))
    pump.run()
    opened_by_all(pump, inputs, without=[ID[6]])
    assert pump.named() == pump.named(proven=True) == {ID[6]}


def test_nobody_can_deal_in_anothers_name():
    pump, inputs = session()
    forged = second_deal(pump, 6, inputs)
    pump.start()
    pump.inject(ID[4], pump.plan.stages[0].adders[0], forged)
    stolen = replace(forged, dealing=replace(forged.dealing, dealer=ID[4]))
    pump.inject(ID[4], pump.plan.stages[0].adders[0], stolen)
    pump.run()
    opened_by_all(pump, inputs)
    assert not pump.named()


# -- members ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rubbish", [True, False])
def test_a_false_complaint_names_the_complainer_and_keeps_the_dealer(rubbish):
    pump, inputs = session()
    liar = pump.plan.stages[0].members[1]
    seat_keys = next(key for key in KEYS if key.party == liar)

    def complain(sender, to, message):
        if to == liar and isinstance(message, Part) and message.dealing.dealer == ID[6]:
            context = dealing._seal_context(
                pump.parties[ID[0]]._adders[0, 0].assembly, ID[6], message.dealing.source
            )
            proof = dealing.sealing.disclose(seat_keys.sealing_secret, message.sealed, context)
            shown = bytes(32) if rubbish else proof.shared_point
            pump.inject(
                liar,
                sender,
                Complaint(message.dealing, 1, message.sealed, shown, proof.challenge, proof.response),
            )

    pump.hooks.append(complain)
    run(pump)
    opened_by_all(pump, inputs)
    assert pump.named() == pump.named(proven=True) == {liar}


def wrong(kind, liars, stage=None):
    """Tamper with the `values` of every message of `kind` from `liars`."""

    def tamper(sender, to, message):
        if isinstance(message, kind) and sender in liars and (stage is None or message.stage == stage):
            values = message.values.copy()
            values[0] ^= np.uint64(3)
            return replace(message, values=values)
        return message

    return tamper


@pytest.mark.parametrize(("size", "liars"), [((4, 1), (1,)), ((7, 2), (0, 5))])
@pytest.mark.parametrize("kind", [OpeningShare, CheckShares])
def test_up_to_t_wrong_shares_are_corrected_and_named(kind, size, liars):
    chosen = {ID[i] for i in liars}
    pump, inputs = session(size=size, tamper=wrong(kind, chosen))
    run(pump)
    opened_by_all(pump, inputs)
    assert pump.named() == chosen
    assert not pump.named(proven=True)


def test_more_than_t_liars_abort_and_never_open_wrongly():
    pump, inputs = session(size=(4, 1), tamper=wrong(OpeningShare, {ID[0], ID[1]}))
    run(pump)
    expected = field.total(np.stack(list(inputs.values())))
    for party, outcome in pump.outcomes().items():
        if party not in (ID[0], ID[1]):
            assert isinstance(outcome, events.Aborted) or np.array_equal(outcome.total, expected)


@pytest.mark.parametrize(("size", "liars"), [((4, 1), (2,)), ((7, 2), (2, 6))])
def test_resharing_a_wrong_sum_is_corrected_and_named(size, liars):
    pump, inputs = session(size=size, clusters=1)
    for index in liars:
        machine = pump.parties[ID[index]]
        honest = machine._reshare

        def reshare(member, *rest, honest=honest):
            member.sum[0] ^= np.uint64(1)
            return honest(member, *rest)

        machine._reshare = reshare
    run(pump)
    opened_by_all(pump, inputs)
    assert pump.named() == {ID[i] for i in liars}


def test_members_that_vote_and_then_fall_silent():
    silent = set()

    def tamper(sender, to, message):
        if sender in silent and not isinstance(message, Vote):
            return None
        if isinstance(message, Vote) and sender in (ID[2], ID[5]):
            silent.add(sender)
        return message

    pump, inputs = session(size=(7, 2), tamper=tamper)
    run(pump)
    expected = field.total(np.stack(list(inputs.values())))
    for party in set(ID) - silent:
        assert np.array_equal(pump.outcomes()[party].total, expected)
    assert not pump.named()


def test_one_silent_root_member_cannot_keep_the_result_back():
    first = ID[0]
    pump, _ = session(tamper=lambda s, to, m: None if s == first and isinstance(m, Result) else m)
    run(pump)
    assert isinstance(pump.outcomes()[pump.plan.initiator], events.Opened)


def test_a_member_cannot_dictate_a_new_adders_roster():
    """It says that it voted, under the adder that died, for a roster without half of the dealers."""
    pump, inputs = session(size=(7, 2), clusters=1)
    liar, first, second = pump.plan.stages[0].members[3], *pump.plan.stages[0].adders[:2]
    pump.tamper = lambda s, to, m: None if s == first and isinstance(m, Proposal) else m
    pump.start()
    pump.run(until=0.5)
    truth = pump.parties[first]._adders[0, 0].proposal
    kept = truth.groups[0].entries[:3]
    fake = replace(
        truth, groups=(replace(truth.groups[0], entries=kept),), contributors=tuple(e.dealer for e in kept)
    )
    ballot = roster.cast(KEYS[3], 3, roster.ROSTER, roster.roster_digest(pump.plan.session, fake))
    pump.inject(liar, second, Held(0, 0, (), fake, ballot))
    pump.kill(first)
    pump.run()
    opened_by_all(pump, inputs, without=[first])  # it died before its dealing could be sent again


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
    pump.inject(ID[6], pump.plan.initiator, AbortVote("C-301", "no", voted=False, released=False))
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
    for member in closing:  # their clocks are ahead, or they heard of the plan first
        pump._carry_out(member, pump.parties[member].expire(pump.now + pump.plan.total_ms / 1000))
    for liar in (adder, helper):
        if liar != pump.plan.initiator:
            pump.inject(liar, pump.plan.initiator, AbortVote("C-303", "late", voted=False, released=False))
    pump.tamper = None
    pump.run(until=0.0)
    outcome = pump.parties[pump.plan.initiator].outcome
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
    assert isinstance(initiator.outcome, events.Aborted)
    assert (initiator.outcome.code, initiator.outcome.definite) == ("C-305", True)
    pump.run()
    assert not any(isinstance(outcome, events.Opened) for outcome in pump.outcomes().values())
