"""Deposits and readings of a vault: dealers and holders that lie, replays, late mail, the owner's rules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.arithmetic import field, polynomial
from protocols.arithmetic.xof import Xof
from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest
from protocols.sessions.plan import Query
from protocols.sharing import shamir
from protocols.vault import dealing, deposit, reading
from protocols.vault.dealing import BadShare
from protocols.vault.deposit import DepositFailed, Depositor
from protocols.vault.messages import (
    Reading,
    VaultBadShare,
    VaultDecline,
    VaultErased,
    VaultOffer,
    VaultRelease,
    erased,
    is_erased,
    is_order,
    order,
)
from protocols.vault.reading import Reader, ReadingFailed, ReadingOpened
from protocols.vault.standing import check_standing
from protocols.vault.terms import check_terms, places, sign_terms
from protocols.wire import sealing
from tests.scenarios.vault_pump import MESH, Vault, deposited, keys_of, terms_of

MEAN = (Query("mean", "bmi", ()),)
SUM = (Query("sum", "bmi", ()),)
READER = keys_of("reader")


def ask(vault: Vault, queries=MEAN, requester=READER, tag: bytes = b"r" * 16) -> Reading:
    return Reading(tag, requester.party, (vault.standing.vault,), (), queries, "test", (vault.owner.party,))


def read(vault: Vault, wanted: Reading, *, silent=(), lying=(), denied=()) -> Reader:
    """A reading played straight through; `silent` and so on are seats."""
    machine = Reader(READER, vault.standing, wanted, b"x" * 32)
    machine.start(0.0)
    release = []
    for seat, holder in enumerate(vault.holders):
        if machine.outcome is not None or seat in silent:
            continue
        answer = reading.consent(holder, vault.standing, seat, wanted)
        if seat in denied:
            answer = VaultDecline(wanted.name, "max_uses: all uses are spent", True)
        release += machine.receive(0.1, holder.party, answer)
    if machine.outcome is None and not release:
        release = machine.expire(1.0)
    if machine.outcome is None and release:
        message = release[0].message
        for seat, holder in enumerate(vault.holders):
            if holder.party in release[0].to and seat not in silent:
                reading.check_release(vault.standing, READER.party, message)
                share = vault.shares[holder.party]
                if seat in lying:
                    share = field.add(share, np.ones_like(share))
                answer = reading.release(
                    vault.standing, seat, share, message, READER.sealing_key, bytes([seat]) * 32
                )
                machine.receive(2.0, holder.party, answer)
        if machine.outcome is None:
            machine.expire(9.0)
    return machine


# -- deposits -------------------------------------------------------------------------------------------


def offer_of(n: int = 4, t: int = 1) -> tuple:
    owner, holders = keys_of("owner"), [keys_of(f"h{i}") for i in range(n)]
    terms = terms_of(owner, holders, t)
    signed = sign_terms(owner.signing_seed, terms)
    machine = Depositor(owner, signed, Xof(b"v" * 32, "values").elements(terms.length), b"d" * 32)
    return owner, holders, machine, machine.start(0.0)[0].message


def test_a_dealer_whose_shares_lie_on_no_polynomial_is_convicted() -> None:
    owner, holders, _, offer = offer_of()
    terms = offer.terms.terms
    to = deposit.deposit_target(terms)
    xof = Xof(b"p" * 32, "bad")
    curves = shamir.polynomials(xof.elements(to.width + 2), 1, xof)
    shares = polynomial.evaluate_first(curves, 4)
    shares[2] = field.add(shares[2], np.ones_like(shares[2]))  # seat 2 is off the curves
    sealed = tuple(
        sealing.seal(
            seat.sealing_key, shares[i].astype("<u8").tobytes(), to.subject + owner.party + bytes([i]),
            bytes([i]) * 32,
        )
        for i, seat in enumerate(terms.seats)
    )  # fmt: skip
    bad = VaultOffer(offer.terms, dealing.assemble(owner, to, curves, sealed))
    assert isinstance(deposit.take(holders[0], owner.party, bad), deposit.Taken)
    complaint = deposit.take(holders[2], owner.party, bad)
    assert isinstance(complaint, BadShare)
    message = VaultBadShare(bad.terms, complaint)
    assert deposit.is_guilty(message)
    told = deposit.refuse(holders[2], bad, complaint)[0]
    assert set(told.to) == {owner.party, *(h.party for h in holders if h is not holders[2])}


def test_a_holder_cannot_convict_an_honest_dealer() -> None:
    owner, holders, _, offer = offer_of()
    to = deposit.deposit_target(offer.terms.terms)
    sealed = offer.deal.sealed[1]
    proof = sealing.disclose(
        holders[1].sealing_secret, sealed, bytes(to.subject) + bytes(owner.party) + bytes([1])
    )
    honest = BadShare(offer.deal.dealing, 1, sealed, proof.shared_point, proof.challenge, proof.response)
    assert not deposit.is_guilty(VaultBadShare(offer.terms, honest))
    forged = replace(honest, shared_point=offer.terms.terms.seats[0].sealing_key)
    assert not deposit.is_guilty(VaultBadShare(offer.terms, forged))


def test_shares_moved_between_seats_vaults_or_dealers_are_refused() -> None:
    owner, holders, _, offer = offer_of()
    swapped = replace(offer.deal, sealed=(offer.deal.sealed[1], offer.deal.sealed[0], *offer.deal.sealed[2:]))
    with pytest.raises(MalformedMessage, match="differ"):
        deposit.take(holders[0], owner.party, VaultOffer(offer.terms, swapped))
    other = replace(offer.terms.terms, nonce=b"o" * 32)
    moved = VaultOffer(sign_terms(owner.signing_seed, other), offer.deal)
    with pytest.raises(MalformedMessage, match="another vault"):
        deposit.take(holders[0], owner.party, moved)
    with pytest.raises(MalformedMessage, match="offered by its owner"):
        deposit.take(holders[0], holders[1].party, offer)


def test_terms_with_too_few_holders_or_changed_rules_are_refused() -> None:
    owner, holders = keys_of("owner"), [keys_of(f"h{i}") for i in range(4)]
    signed = sign_terms(owner.signing_seed, terms_of(owner, holders, 1))
    assert check_terms(signed, MESH)
    rules = replace(signed.terms, consent=replace(signed.terms.consent, max_uses=9))
    with pytest.raises(MalformedMessage, match="not signed"):
        check_terms(replace(signed, terms=rules), MESH)
    few = sign_terms(owner.signing_seed, terms_of(owner, holders[:3], 1))
    with pytest.raises(MalformedMessage, match="needs 4 or more"):
        check_terms(few, MESH)
    own = sign_terms(owner.signing_seed, terms_of(owner, [owner, *holders[:3]], 1))
    with pytest.raises(MalformedMessage, match="none of its holders"):
        check_terms(own, MESH)
    with pytest.raises(MalformedMessage, match="another mesh"):
        check_terms(signed, Digest(b"x" * 32))


def test_a_deposit_stands_with_a_quorum_and_fails_below() -> None:
    for takers, stands in ((4, True), (3, True), (2, False)):
        owner, holders, machine, offer = offer_of()
        for holder in holders[:takers]:
            machine.receive(0.1, holder.party, deposit.take(holder, owner.party, offer).receipt)
        if machine.outcome is None:
            machine.expire(20.0)
        assert isinstance(machine.outcome, DepositFailed) is not stands
        if stands:
            check_standing(machine.outcome.standing, MESH)
    owner, holders, machine, offer = offer_of()
    receipt = deposit.take(holders[0], owner.party, offer).receipt
    with pytest.raises(MalformedMessage, match="forged"):
        machine.receive(0.1, holders[1].party, receipt)  # somebody else's


# -- readings -------------------------------------------------------------------------------------------


def test_a_reading_opens_the_elements_asked_for_and_no_others() -> None:
    vault = deposited(4, 1)
    machine = read(vault, ask(vault))
    assert isinstance(machine.outcome, ReadingOpened)
    place = places(vault.standing.terms.terms, MEAN[0])
    assert len(place) == 25
    assert np.array_equal(machine.outcome.values, vault.vector[place.start : place.stop])
    assert machine.outcome.liars == ()


@pytest.mark.parametrize(("n", "t"), [(4, 1), (7, 2)])
def test_liars_are_corrected_and_named_when_all_answer(n: int, t: int) -> None:
    vault = deposited(n, t)
    machine = read(vault, ask(vault), lying=range(t))
    assert isinstance(machine.outcome, ReadingOpened)
    assert machine.outcome.liars == tuple(vault.holders[i].party for i in range(t))
    place = places(vault.standing.terms.terms, MEAN[0])
    assert np.array_equal(machine.outcome.values, vault.vector[place.start : place.stop])


def test_a_lie_beyond_the_redundancy_is_noticed_never_believed() -> None:
    vault = deposited(4, 1)
    machine = read(vault, ask(vault), lying=[0], silent=[3])
    assert isinstance(machine.outcome, ReadingFailed)
    assert not machine.outcome.denied


def test_silence_within_the_slack_costs_nothing_and_beyond_it_ends_the_reading() -> None:
    vault = deposited(4, 1)
    assert isinstance(read(vault, ask(vault), silent=[2]).outcome, ReadingOpened)
    failed = read(vault, ask(vault), silent=[1, 2]).outcome
    assert isinstance(failed, ReadingFailed)
    assert {why for _, why in failed.reasons} == {"no answer"}


def test_holders_that_deny_end_it_with_the_rule() -> None:
    vault = deposited(4, 1)
    one = read(vault, ask(vault), denied=[0], silent=[1]).outcome
    assert isinstance(one, ReadingFailed)
    assert not one.denied  # a single holder may be lying: it may go better another time
    failed = read(vault, ask(vault), denied=[0, 1]).outcome
    assert isinstance(failed, ReadingFailed)
    assert failed.denied
    assert "max_uses" in failed.reasons[0][1]


def test_who_is_away_does_not_hide_what_the_others_deny() -> None:
    vault = deposited(4, 1)
    machine = Reader(READER, vault.standing, ask(vault), b"x" * 32)
    machine.start(0.0)
    machine.lose(0.0, vault.holders[3].party)
    no = VaultDecline(machine.reading.name, "max_uses: all uses are spent", True)
    machine.receive(0.1, vault.holders[0].party, no)
    assert machine.outcome is None  # one may be lying; the next one tells
    machine.receive(0.2, vault.holders[1].party, no)
    assert isinstance(machine.outcome, ReadingFailed)
    assert machine.outcome.denied


def test_a_release_needs_a_quorum_of_consents_to_this_very_reading() -> None:
    vault = deposited(4, 1)
    wanted, other = ask(vault), ask(vault, (Query("variance", "bmi", ()),))
    ballots = tuple(reading.consent(h, vault.standing, s, wanted).ballot for s, h in enumerate(vault.holders))
    good = VaultRelease(vault.standing.vault, 0, wanted, ballots[:3])
    reading.check_release(vault.standing, READER.party, good)
    for bad in (
        replace(good, ballots=ballots[:2]),
        replace(good, ballots=(ballots[0], ballots[0], ballots[1])),
        replace(good, reading=other),
        replace(good, reading=replace(wanted, id=b"z" * 16)),
    ):
        with pytest.raises(MalformedMessage):
            reading.check_release(vault.standing, READER.party, bad)
    with pytest.raises(MalformedMessage, match="somebody else"):
        reading.check_release(vault.standing, vault.holders[0].party, good)
    with pytest.raises(UnexpectedMessage, match="another generation"):
        reading.check_release(vault.standing, READER.party, replace(good, generation=1))


def test_the_parts_of_a_joint_sum_are_opened_by_nobody() -> None:
    """Consents to a sum over two vaults release no single share, or the sum could be taken apart."""
    vault = deposited(4, 1)
    wanted = replace(ask(vault), vaults=(vault.standing.vault, Digest(b"w" * 32)))
    ballots = tuple(reading.consent(h, vault.standing, s, wanted).ballot for s, h in enumerate(vault.holders))
    with pytest.raises(MalformedMessage, match="never share by share"):
        reading.check_release(
            vault.standing, READER.party, VaultRelease(vault.standing.vault, 0, wanted, ballots)
        )


def test_shares_sent_again_late_or_for_another_reading_are_refused() -> None:
    vault = deposited(4, 1)
    wanted = ask(vault)
    machine = read(vault, wanted, silent=[3])
    assert machine.outcome is not None
    late = reading.consent(vault.holders[3], vault.standing, 3, wanted)
    with pytest.raises(UnexpectedMessage):
        machine.receive(10.0, vault.holders[3].party, late)
    fresh = Reader(READER, vault.standing, ask(vault, tag=b"2" * 16), b"x" * 32)
    fresh.start(0.0)
    with pytest.raises(MalformedMessage, match="forged consent"):
        fresh.receive(0.1, vault.holders[3].party, late)
    with pytest.raises(UnexpectedMessage):
        fresh.receive(0.1, keys_of("stranger").party, late)


def test_t_shares_say_nothing_of_what_was_not_asked() -> None:
    """Any T shares fit every secret: another value of an element explains them just as well."""
    vault = deposited(7, 2)
    seen = [vault.shares[vault.holders[i].party] for i in range(2)]
    other = vault.vector.copy()
    other[30] = np.uint64((int(other[30]) + 12345) % field.P)
    points = np.array([0, 1, 2])
    for secret in (vault.vector, other):
        curve = polynomial.interpolate(
            [int(p) for p in points], np.array([secret[30], seen[0][30], seen[1][30]], dtype=np.uint64)
        )
        assert len(curve) <= 3


def test_only_the_owner_orders_and_only_the_holder_confirms() -> None:
    vault = deposited(4, 1)
    terms = vault.standing.terms
    assert is_order(order(vault.owner.signing_seed, terms))
    assert not is_order(order(vault.holders[0].signing_seed, terms))
    word = erased(vault.holders[1].signing_seed, vault.holders[1].party, terms.terms.vault, 77)
    assert is_erased(word)
    assert not is_erased(replace(word, erased_s=78))
    assert not is_erased(VaultErased(terms.terms.vault, vault.holders[0].party, 77, word.signature))
