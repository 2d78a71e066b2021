"""Renewals while somebody floods the holders with small valid messages: nobody uses up the room of others."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.errors import UnexpectedMessage
from protocols.sessions.plan import Seat
from protocols.vault import dealing, recasting
from protocols.vault.gathering import MOST_TARGETS, Gathering, held_subject
from protocols.vault.renewal_messages import Entry, Held, VaultDeal, VaultHeld
from protocols.vault.standing import HELD, cast
from protocols.wire.digest import digest
from tests.scenarios.vault_pump import Pump, Vault, deposited, keys_of


def seats_with(vault: Vault, *names: str) -> tuple[Seat, ...]:
    """The vault's seats, the last ones given to parties of these names."""
    others = [keys_of(name) for name in names]
    return (
        *vault.standing.seats[: -len(others)],
        *(Seat(one.party, one.sealing_key) for one in others),
    )


def test_words_of_somebody_who_holds_nothing_do_not_crowd_out_those_of_holders() -> None:
    vault, outsider = deposited(4, 1), keys_of("outsider")
    pump = Pump(vault)
    pump.start()
    for one in vault.holders:
        machine = pump.machines[one.party]
        refused = 0
        for index in range(300):
            seats = (*seats_with(vault, f"x{index}", "outsider"),)
            entries = (Entry(0, digest("test", bytes([index % 256]))),)
            ballot = cast(outsider, 3, HELD, held_subject(machine.place, seats, entries))
            try:
                machine.receive(0.0, outsider.party, VaultHeld(machine.place, seats, Held(entries, ballot)))
            except UnexpectedMessage:
                refused += 1
        assert refused == 300 - MOST_TARGETS
    pump.run()
    standing, shares = pump.renewed()
    assert np.array_equal(vault.secrets(standing, shares), vault.vector)


def test_dealings_of_a_liar_to_invented_seats_leave_room_for_those_of_the_others() -> None:
    vault, newcomer = deposited(4, 1), keys_of("newcomer")
    terms, machine = vault.standing.terms.terms, Pump(vault)
    machine.start()
    place = machine.machines[vault.holders[0].party].place
    gathering = Gathering(newcomer, vault.standing, place)

    def dealt(index: int, seats: tuple[Seat, ...]) -> VaultDeal:
        one, to = vault.holders[index], gathering.target(seats)
        vector = recasting.vector(terms, vault.shares[one.party], 0, b"s" * 32, to.subject)
        return VaultDeal(place, seats, dealing.deal(one, to, vector, b"s" * 32))

    for index in range(20):
        message = dealt(3, seats_with(vault, "newcomer", f"x{index}"))
        if index < MOST_TARGETS:
            gathering.on_deal(vault.holders[3].party, message)
            continue
        with pytest.raises(UnexpectedMessage):
            gathering.on_deal(vault.holders[3].party, message)
    seats = seats_with(vault, "newcomer")
    for index in range(3):
        gathering.on_deal(vault.holders[index].party, dealt(index, seats))
    word = gathering.hold(seats, frozenset({vault.holders[3].party}), patient=True)
    assert word is not None
    assert [entry.seat for entry in word.held.entries] == [0, 1, 2]
