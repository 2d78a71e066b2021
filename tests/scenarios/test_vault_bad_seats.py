"""A liar whose shares are good for all but one seat that is away: what that seat gets when it is back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.errors import MalformedMessage
from protocols.sharing import shamir
from protocols.vault import dealing, recasting, recovery
from protocols.vault.dealing import BadShare, GoodShare
from protocols.vault.gathering import Liar
from protocols.vault.recovery import Recovery, Remains, VaultMissed, VaultRemains
from protocols.vault.renewal_messages import AckCast, VaultDeal
from protocols.wire import codec
from tests.scenarios.vault_pump import Pump, deposited


class CrookedPump(Pump):
    """The dealings of the seat `liar` are bad for the seat `victim` alone."""

    liar, victim = 1, -1

    def make(self, party, wanted):
        machine = super().make(party, wanted)
        honest = machine._deal

        def deal():
            true = shamir.shares

            def shares(coefficients, n):
                values = true(coefficients, n)
                values[self.victim] = field.add(values[self.victim], np.ones_like(values[self.victim]))
                return values

            shamir.shares = shares
            try:
                return honest()
            finally:
                shamir.shares = true

        if party == self.vault.holders[self.liar].party:
            machine._deal = deal
        return machine


@pytest.mark.parametrize(("n", "t"), [(4, 1), (7, 2)])
def test_a_liar_and_an_absent_seat_do_not_hold_a_renewal_up(n: int, t: int) -> None:
    """The liar says nothing about the new shares; with the others it takes who was away for a quorum."""
    vault = deposited(n, t)
    late = vault.holders[n - 1].party
    liar = vault.holders[CrookedPump.liar].party
    others = [one.party for one in vault.holders[: n - 1] if one.party != liar]
    away = {late, *(one.party for one in vault.holders[2 : 1 + t])}  # as few as can decide without it
    pump = CrookedPump(vault)
    pump.crash_before_send[liar] = AckCast
    pump.start(lost=frozenset(away))
    pump.run(until=15.0)
    assert all(pump.machines[party].outcome is None for party in others if party not in away)
    for party in sorted(away):
        pump.restart(party)
    pump.lose()
    pump.run(until=60.0)
    standing, shares = pump.renewed()
    assert {one.party for one in pump.named if isinstance(one, Liar) and one.proven} == {liar}
    assert late in shares
    for other in shares:
        some = {late: shares[late], other: shares[other]} if t == 1 else shares
        assert other == late or np.array_equal(vault.secrets(standing, some), vault.vector)


def test_a_good_share_is_opened_for_a_proven_liar_only() -> None:
    vault = deposited(4, 1)
    pump = Pump(vault)
    pump.start()
    deal = next(message for _, message in pump.said if isinstance(message, VaultDeal))
    to = dealing.target(
        "renewal", deal.place.name, deal.seats, 1, recasting.dealt_width(vault.standing.terms.terms)
    )
    shown = dealing.show(vault.holders[2], to, deal.deal.dealing, deal.deal.sealed[2], 2)
    assert isinstance(shown, GoodShare)
    assert np.array_equal(dealing.look(to, shown), dealing.accept(vault.holders[2], to, deal.deal, 2))
    for forged in (replace(shown, seat=3), replace(shown, challenge=bytes(32))):
        with pytest.raises(MalformedMessage):
            dealing.look(to, forged)
    assert not dealing.uphold(to, BadShare(*(getattr(shown, name) for name in BadShare.__dataclass_fields__)))


@pytest.mark.parametrize(("n", "t"), [(4, 1), (7, 2)])
def test_who_was_dealt_a_bad_share_while_it_was_away_still_gets_its_share(n: int, t: int) -> None:
    """The generation is certified without it, by the liar's word too: T+1 fellows show their shares."""
    pump = CrookedPump(deposited(n, t))
    vault, keys = pump.vault, pump.vault.holders[n - 1]
    pump.start(lost=frozenset({keys.party}))
    pump.run()
    standing, shares = pump.renewed()
    assert 1 in {
        entry.seat for entry in pump.machines[vault.holders[0].party]._round.gathering.roster.entries
    }
    way = Recovery(keys, standing)
    for count, fellow in enumerate(2 * [vault.holders[0], *vault.holders[2 : n - 1]]):
        kept = [record for record in pump.disks[fellow.party] if isinstance(record, Remains)][-1]
        asked = codec.decode(VaultMissed, codec.encode(way.ask()))
        answer = kept.answer(fellow, standing, n - 1, asked.complaints)
        assert (len(asked.complaints), len(answer.shown)) == ((0, 0) if count == 0 else (1, 1))
        share = way.receive(codec.decode(VaultRemains, codec.encode(answer)))
        assert (share is None) == (count < t + 1)
        if share is not None:
            break
    held = {**shares, keys.party: share}
    held = {p: held[p] for p in (keys.party, *list(shares)[:t])}
    assert np.array_equal(vault.secrets(standing, held), vault.vector)


def test_nobody_shows_a_share_of_an_honest_dealing() -> None:
    pump = CrookedPump(deposited(4, 1))
    vault = pump.vault
    pump.start(lost=frozenset({vault.holders[3].party}))
    pump.run()
    standing, _ = pump.renewed()
    fellow = vault.holders[0]
    kept = [record for record in pump.disks[fellow.party] if isinstance(record, Remains)][-1]
    answer = kept.answer(fellow, standing, 3)
    to = recovery.target_of(standing, kept.roster)
    for index, (public, sealed) in enumerate(zip(answer.dealings, answer.sealed, strict=True)):
        shown = dealing.show(vault.holders[3], to, public, sealed, 3)
        proof = BadShare(*(getattr(shown, name) for name in BadShare.__dataclass_fields__))
        if kept.roster.entries[index].seat == CrookedPump.liar:
            assert len(kept.answer(fellow, standing, 3, (proof,)).shown) == 1
            continue
        for false in (proof, replace(proof, shared_point=proof.dealing.subject), replace(proof, seat=2)):
            with pytest.raises(MalformedMessage):
                kept.answer(fellow, standing, 3, (false,))
