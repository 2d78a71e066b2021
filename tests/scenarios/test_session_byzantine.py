"""Parties that cheat, one way each: what they can do, who is named for it, and that the total stays right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.sessions import dealing, events, roster
from protocols.sessions.messages import (
    CheckShares,
    Complaint,
    Deal,
    Held,
    OpeningShare,
    Part,
    Proposal,
    Result,
    Vote,
)
from protocols.sessions.party import SessionParty
from tests.scenarios.cheats import ID, KEYS, dealing_with, opened_by_all, run, session, stand_ins
from tests.scenarios.pump import seed_of

__all__ = ["stand_ins"]


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
