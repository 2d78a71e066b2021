"""A liar whose shares are good for everybody but for one seat that is away: who is back opens it to the light."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.arithmetic import field
from protocols.errors import MalformedMessage
from protocols.sharing import shamir
from protocols.vault import dealing, recasting
from protocols.vault.dealing import BadShare, GoodShare
from protocols.vault.gathering import Liar
from protocols.vault.renewal_messages import AckCast, VaultDeal
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
