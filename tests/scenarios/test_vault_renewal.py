"""Renewals of a vault: in place, with substitutes, with liars, crashes and late messages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.errors import MalformedMessage
from protocols.sessions.plan import Seat
from protocols.vault import dealing
from protocols.vault.gathering import Liar
from protocols.vault.renewal import Renewal
from protocols.vault.renewal_messages import (
    AckCast,
    VaultAck,
    VaultCheck,
    VaultDeal,
    VaultPropose,
    VoteCast,
)
from protocols.vault.standing import check_standing, held_throughout
from protocols.wire.digest import digest
from tests.scenarios.vault_pump import MESH, Pump, deposited, keys_of


def check(pump: Pump, shares_wanted: int) -> None:
    standing, shares = pump.renewed()
    check_standing(standing, MESH)
    assert standing.generation == pump.vault.standing.generation + 1
    assert len(shares) >= shares_wanted
    t = standing.terms.terms.threshold
    secrets = pump.vault.secrets(standing, shares)
    assert np.array_equal(secrets, pump.vault.vector)
    holders = list(shares)
    for missing in range(len(holders) - t):  # every set of t+1 opens the same: one polynomial in each column
        chosen = holders[missing : missing + t + 1]
        some = {party: shares[party] for party in chosen}
        assert np.array_equal(pump.vault.secrets(standing, some), pump.vault.vector)
    for party, share in shares.items():
        old = pump.vault.shares.get(party)
        assert old is None or not np.array_equal(old, share)


@pytest.mark.parametrize(("n", "t"), [(4, 1), (5, 1), (7, 2)])
def test_renewed_in_place_the_secrets_stay_and_the_shares_change(n: int, t: int) -> None:
    pump = Pump(deposited(n, t))
    pump.start()
    pump.run()
    check(pump, n)
    assert pump.now < 2.0


def test_a_leaver_is_replaced_and_knows_nothing_of_the_next_generation() -> None:
    vault, spare = deposited(4, 1), keys_of("spare")
    pump = Pump(vault, [spare])
    gone = vault.holders[0].party  # the first leader
    seats = (Seat(spare.party, spare.sealing_key), *vault.standing.seats[1:])
    pump.start(seats, frozenset({gone}))
    pump.run()
    check(pump, 4)
    standing, shares = pump.renewed()
    assert standing.members[0] == spare.party
    mixed = {gone: vault.shares[gone], standing.members[1]: shares[standing.members[1]]}
    standing_old_seat = vault.standing
    assert not np.array_equal(vault.secrets(standing_old_seat, mixed), vault.vector)


def test_generation_after_generation_with_the_seats_moving_on() -> None:
    vault = deposited(4, 1)
    for generation in range(1, 5):
        spare = keys_of(f"s{generation}")
        pump = Pump(vault, [spare])
        seats = list(vault.standing.seats)
        gone = seats[generation % 4].party
        seats[generation % 4] = Seat(spare.party, spare.sealing_key)
        pump.start(tuple(seats), frozenset({gone}))
        pump.run()
        check(pump, 4)
        standing, shares = pump.renewed()
        vault.holders = [one for one in (*vault.holders, spare) if one.party in standing.members]
        vault.standing, vault.shares = standing, shares
    assert vault.standing.generation == 4
    assert len(vault.standing.successions) == 4


def test_a_holder_that_deals_another_share_than_its_own_is_named_and_left_out() -> None:
    vault = deposited(4, 1)
    liar = vault.holders[2].party
    vault.shares[liar] = field.add(vault.shares[liar], np.ones_like(vault.shares[liar]))
    pump = Pump(vault)
    pump.start()
    pump.run()
    vault.shares[liar] = field.sub(vault.shares[liar], np.ones_like(vault.shares[liar]))
    check(pump, 4)
    assert {(one.party, one.fault) for one in pump.named if isinstance(one, Liar)} == {
        (liar, "dealt a false share")
    }


def test_a_holder_that_deals_off_its_polynomial_is_convicted_by_proof() -> None:
    vault = deposited(4, 1)
    liar, victim = vault.holders[1], vault.holders[3]

    def tamper(sender, receiver, message):
        if not (sender == liar.party and isinstance(message, VaultDeal)):
            return message
        seat = [s.party for s in message.seats].index(victim.party)
        sealed = list(message.deal.sealed)
        sealed[seat] = sealed[seat - 1]  # a sealing that does not open for its seat
        to = dealing.target(
            "renewal", message.place.name, message.seats, 1,
            vault.standing.terms.terms.length + 2 + 16,
        )  # fmt: skip
        honest = np.zeros((2, to.width + 2), dtype=np.uint64)
        forged = dealing.assemble(liar, to, honest, tuple(sealed))
        return replace(message, deal=forged)

    pump = Pump(vault, tamper=tamper)
    pump.start()
    pump.run()
    standing, shares = pump.renewed()
    assert np.array_equal(vault.secrets(standing, shares), vault.vector)
    proven = {one.party for one in pump.named if isinstance(one, Liar) and one.proven}
    assert proven == {liar.party}


def test_a_false_check_is_corrected_and_named() -> None:
    vault = deposited(4, 1)
    liar = vault.holders[3].party

    def tamper(sender, receiver, message):
        if sender == liar and isinstance(message, VaultCheck):
            return replace(message, values=field.add(message.values, np.ones_like(message.values)))
        return message

    pump = Pump(vault, tamper=tamper)
    pump.start()
    pump.run()
    check(pump, 4)
    assert {one.party for one in pump.named if isinstance(one, Liar)} == {liar}


def test_a_leader_that_equivocates_or_stays_silent_costs_a_view() -> None:
    vault = deposited(4, 1)
    leader = vault.holders[0].party

    def silent(sender, receiver, message):
        return None if sender == leader and isinstance(message, VaultPropose) else message

    def two_faced(sender, receiver, message):
        if sender == leader and isinstance(message, VaultPropose) and receiver != vault.holders[1].party:
            fewer = replace(message.roster, held=message.roster.held[:3])
            return replace(message, roster=fewer)
        return message

    for tamper in (silent, two_faced):
        pump = Pump(deposited(4, 1), tamper=tamper)
        pump.start()
        pump.run()
        check(pump, 4)


@pytest.mark.parametrize("record", [VoteCast, AckCast])
@pytest.mark.parametrize("who", [0, 1, 3])
def test_a_crash_between_store_and_send_leaves_one_generation(record: type, who: int) -> None:
    vault = deposited(4, 1)
    pump = Pump(vault)
    party = vault.holders[who].party
    pump.crash_before_send[party] = record
    pump.start()
    pump.run(until=3.0)
    pump.restart(party)
    pump.run()
    check(pump, 3)
    votes = [m for s, m in pump.said if s == party and isinstance(m, VaultAck)]
    assert len({(m.outcome, m.good) for m in votes}) <= 1


def test_a_crash_in_the_middle_without_return_costs_its_share_only() -> None:
    vault = deposited(7, 2)
    pump = Pump(vault)
    pump.crash_before_send[vault.holders[0].party] = VoteCast
    pump.crash_before_send[vault.holders[4].party] = AckCast
    pump.start()
    pump.run(until=1.0)
    pump.lose(*pump.dead)
    pump.run()
    check(pump, 5)


def test_messages_lost_late_and_out_of_order_change_nothing() -> None:
    for salt in range(6):
        seen: dict[object, int] = {}

        def drop(sender, receiver, message, salt=salt, seen=seen):
            kind = (sender, receiver, type(message).__name__)
            seen[kind] = seen.get(kind, 0) + 1
            lottery = digest("lottery", sender, receiver, kind[2].encode(), bytes([salt]))[0] % 5
            return None if lottery == 0 and seen[kind] < 3 else message

        def late(index, salt=salt):
            return (index * 7919 + salt) % 97 / 300

        pump = Pump(deposited(4, 1), tamper=drop, latency=late)
        pump.start()
        pump.run()
        check(pump, 4)


def test_too_few_truthful_dealings_end_the_round_and_the_next_one_succeeds() -> None:
    """A leader that leaves an honest dealer out lets a liar spoil the round; nobody acknowledges it."""
    vault = deposited(4, 1)
    liar = vault.holders[2].party
    vault.shares[liar] = field.add(vault.shares[liar], np.ones_like(vault.shares[liar]))
    quiet = vault.holders[3].party

    def tamper(sender, receiver, message):
        if sender == quiet and isinstance(message, VaultDeal) and message.place.round == 0:
            return None
        return message

    pump = Pump(vault, tamper=tamper)
    pump.start()
    pump.run()
    vault.shares[liar] = field.sub(vault.shares[liar], np.ones_like(vault.shares[liar]))
    standing, shares = pump.renewed()
    assert np.array_equal(vault.secrets(standing, shares), vault.vector)
    assert standing.successions[-1].round == 1


def test_a_standing_with_a_forged_step_is_refused() -> None:
    pump = Pump(deposited(4, 1))
    pump.start()
    pump.run()
    standing, _ = pump.renewed()
    step = standing.successions[0]
    stranger = keys_of("stranger")
    seats = (Seat(stranger.party, stranger.sealing_key), *step.seats[1:])
    for forged in (
        replace(step, seats=seats), replace(step, generation=2),
        replace(step, acks=step.acks[:2]), replace(step, commits=step.commits[:2]),
    ):  # fmt: skip
        with pytest.raises(MalformedMessage):
            check_standing(replace(standing, successions=(forged,)), MESH)


def test_substitutes_that_others_do_not_want_are_not_voted_in() -> None:
    """One holder believes that another has gone; the others do not, and nothing is decided for its seats."""
    vault, spare = deposited(4, 1), keys_of("spare")
    pump = Pump(vault, [spare])
    pump.start()
    alone = pump.machines[vault.holders[0].party]
    seats = (*vault.standing.seats[:3], Seat(spare.party, spare.sealing_key))
    pump.carry(vault.holders[0].party, alone.want(0.0, seats, frozenset({vault.holders[3].party})))
    pump.run()
    standing, _ = pump.renewed()
    assert standing.members == vault.standing.members


def test_a_message_for_another_generation_is_dropped() -> None:
    vault = deposited(4, 1)
    pump = Pump(vault)
    pump.start()
    pump.run()
    standing, shares = pump.renewed()
    late = next(m for _, m in pump.said if isinstance(m, VaultDeal))
    party = vault.holders[1]
    machine = Renewal(party, standing, shares[party.party], pump.seed(party.party), standing.seats)
    machine.start(0.0)
    with pytest.raises(Exception, match="another vault or generation"):
        machine.receive(0.0, vault.holders[0].party, late)


def test_no_change_of_seats_can_be_left_out_of_a_standing() -> None:
    """A holder that was replaced and came back must see that it was gone: it missed readings."""
    vault, spare = deposited(4, 1), keys_of("spare")
    first, replaced = vault.standing.seats, vault.holders[3]
    for seats, gone in (
        ((*first[:3], Seat(spare.party, spare.sealing_key)), replaced.party),
        (first, spare.party),
        (first, None),
    ):
        pump = Pump(vault, [spare, replaced])
        pump.start(seats, frozenset({gone}) if gone else frozenset())
        pump.run()
        standing, shares = pump.renewed()
        holders = [one for one in (*vault.holders, spare, replaced) if one.party in standing.members]
        vault.holders = list({one.party: one for one in holders}.values())
        vault.standing, vault.shares = standing, shares
    check_standing(vault.standing, MESH)
    steps = vault.standing.successions
    assert [step.generation for step in steps] == [1, 2, 3]
    assert not held_throughout(vault.standing, replaced.party, 0)
    assert held_throughout(vault.standing, replaced.party, 2)
    for kept in (steps[1:], steps[2:], (steps[0], steps[2])):
        with pytest.raises(MalformedMessage):
            check_standing(replace(vault.standing, successions=kept), MESH)
    known = replace(vault.standing, successions=steps[:2])
    check_standing(vault.standing, MESH, known)
    forged = replace(steps[2], body=digest("another"))
    with pytest.raises(MalformedMessage):
        check_standing(replace(vault.standing, successions=(*steps[:2], forged)), MESH, known)
