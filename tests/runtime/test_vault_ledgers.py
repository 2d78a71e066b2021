"""What newcomers among a vault's holders learn of earlier readings, from old holders of which some lie."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mesh.data.vault import HeldRow, VaultStore
from mesh.runtime.vaults.allowance import AT_ONCE, Allowance
from mesh.runtime.vaults.ledger import MAX_BYTES, Ledger
from protocols.errors import MalformedMessage, ProtocolError, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.sessions.keys import PartyKeys
from protocols.sessions.plan import Query, Seat
from protocols.vault.messages import MAX_PIECE, Asked, Reading, VaultUses, VaultUsesAsk, ask
from protocols.vault.standing import Standing
from protocols.wire import codec
from tests.runtime.memory_mesh import in_place
from tests.scenarios.vault_pump import Pump, Vault, deposited, keys_of

__all__ = ["in_place"]

READER = keys_of("reader")


def reading(vault: Vault, number: int, requester: PartyKeys = READER) -> Asked:
    """Readings with different companies: (this vault, an invented one)."""
    company = Digest(bytes([number % 256, number // 256]) * 16)
    owner = PartyId(bytes([number % 256, number // 256, 7, 7]) * 8)
    wanted = Reading(
        bytes(16), requester.party, (vault.standing.vault, company), (), (Query("mean", "bmi", ()),), "",
        (vault.owner.party, owner),
    )  # fmt: skip
    return ask(requester.signing_seed, wanted)


def moved_on(vault: Vault, spare: PartyKeys) -> Standing:
    """The next generation, in which `spare` has the first seat."""
    pump = Pump(vault, [spare])
    seats = (Seat(spare.party, spare.sealing_key), *vault.standing.seats[1:])
    pump.start(seats, frozenset({vault.holders[0].party}))
    pump.run()
    return pump.renewed()[0]


class Place:
    """Ledgers of several parties that can write to each other."""

    def __init__(self, folder: Path, vault: Vault, parties: list[PartyKeys]) -> None:
        self.vault = vault
        self.now = 0.0
        self.mail: deque[tuple[PartyId, PartyId, object]] = deque()
        self.stores = {one.party: VaultStore(folder / one.party.hex()[:8], b"k" * 32) for one in parties}
        self.standings = {one.party: vault.standing for one in parties}
        self.ledgers = {party: self._ledger(party, store) for party, store in self.stores.items()}
        self.refused: list[tuple[PartyId, str]] = []

    def _ledger(self, party: PartyId, store: VaultStore) -> Ledger:
        async def stored(call, *arguments):
            return call(*arguments)

        def post(to, message) -> None:
            self.mail += [(party, receiver, message) for receiver in to]

        view = SimpleNamespace(by_party={})
        return Ledger(store, stored, post, lambda: view, lambda: 1.0, Allowance(lambda: self.now))

    def restart(self, party: PartyId) -> None:
        self.ledgers[party] = self._ledger(party, self.stores[party])

    def row(self) -> HeldRow:
        terms = self.vault.standing.terms
        return HeldRow(bytes(self.vault.standing.vault), "cardio", b"", codec.encode(terms), None, 0, 0, 0)

    async def deliver(self, tamper=lambda sender, message: message) -> None:
        while self.mail:
            sender, receiver, message = self.mail.popleft()
            message = tamper(sender, message)
            if message is None or receiver not in self.ledgers:
                continue
            try:
                if isinstance(message, VaultUsesAsk):
                    mine = self.standings[receiver]
                    await self.ledgers[receiver].on_uses_ask(sender, message, mine)
                else:
                    await self.ledgers[receiver].on_uses(sender, message, self.row())
            except ProtocolError as error:
                self.refused.append((sender, str(error)))

    async def enter(self, seat: int, asked: Asked) -> str | None:
        terms = self.vault.standing.terms.terms
        return await self.ledgers[self.vault.holders[seat].party].enter(terms, asked)


@pytest.fixture
def place(tmp_path: Path) -> tuple[Place, PartyKeys, Standing]:
    vault, spare = deposited(4, 1, min_sites=2, max_uses=500), keys_of("spare")
    return Place(tmp_path, vault, [*vault.holders, spare]), spare, moved_on(vault, spare)


async def learning(place: Place, spare: PartyKeys, standing: Standing) -> Ledger:
    ledger = place.ledgers[spare.party]
    del place.ledgers[place.vault.holders[0].party]  # it has left
    await ledger.learn(standing, spare.party)
    place.standings = dict.fromkeys(place.standings, standing)
    await ledger.fetch()
    return ledger


async def test_one_honest_report_suffices_and_nothing_else_does(place, in_place: None) -> None:
    """The leaver, and two of the others, consented; one of these two conceals its ledger."""
    here, spare, standing = place
    asked = reading(here.vault, 1)
    for seat in (0, 1, 2):
        assert await here.enter(seat, asked) is None
    ledger = await learning(here, spare, standing)
    liar, vault = here.vault.holders[1].party, standing.vault

    def concealed(sender, message):
        hides = sender == liar and isinstance(message, VaultUses)
        return replace(message, entries=(), whole=True) if hides else message

    await here.deliver(lambda sender, message: None if sender == liar else message)
    assert not await ledger.is_whole(vault)  # two of four are not enough
    await ledger.fetch()
    await here.deliver(concealed)
    assert await ledger.is_whole(vault)
    assert await ledger.has(vault, asked.reading)
    apart = reading(here.vault, 2)
    near = replace(apart.reading, vaults=(*apart.reading.vaults, asked.reading.vaults[1]))
    near = replace(near, owners=(*apart.reading.owners, asked.reading.owners[1]))
    words = await ledger.enter(standing.terms.terms, ask(READER.signing_seed, near))
    assert words is not None  # {A, 1} and {A, 1, 2} would give 2 away
    assert words.startswith("overlap")


async def test_of_two_exclusive_readings_that_it_learned_a_newcomer_consents_to_neither(
    place, in_place: None
) -> None:
    """One of them may have been answered: knowing a reading is no leave to forget the other."""
    here, spare, standing = place
    one, more = reading(here.vault, 1), reading(here.vault, 2).reading
    wider = replace(more, vaults=(*more.vaults, one.reading.vaults[1]))
    wider = ask(READER.signing_seed, replace(wider, owners=(*more.owners, one.reading.owners[1])))
    assert await here.enter(1, one) is None
    assert await here.enter(2, wider) is None
    ledger = await learning(here, spare, standing)
    await here.deliver()
    assert await ledger.is_whole(standing.vault)
    for asked in (one, wider):
        assert await ledger.has(standing.vault, asked.reading)
        words = await ledger.enter(standing.terms.terms, asked)
        assert words is not None
        assert words.startswith("overlap")
    assert await here.enter(1, one) is None  # who consented to it alone goes on doing so


async def test_holders_cannot_invent_readings_nor_spend_uses_for_outsiders(place, in_place: None) -> None:
    here, spare, standing = place
    ledger = await learning(here, spare, standing)
    liar = here.vault.holders[1].party
    forged = replace(reading(here.vault, 3), signature=bytes(64))
    alone = reading(here.vault, 4).reading
    unfit = replace(alone, vaults=alone.vaults[:1], owners=alone.owners[:1])  # the terms never allow it

    def invents(sender, message):
        if sender == liar and isinstance(message, VaultUses):
            return replace(message, entries=(ask(READER.signing_seed, unfit), forged))
        return message

    await here.deliver(invents)
    assert (liar, "a ledger with a reading that nobody asked for") in here.refused
    assert not await ledger.is_whole(standing.vault)
    await ledger.fetch()
    await here.deliver(
        lambda sender, message: (
            replace(message, entries=(ask(READER.signing_seed, unfit),))
            if sender == liar and isinstance(message, VaultUses)
            else message
        )
    )
    assert await ledger.is_whole(standing.vault)
    assert here.stores[spare.party].count_uses(bytes(standing.vault)) == 0


async def test_a_ledger_is_shown_only_when_its_time_is_closed_and_it_is_whole(place, in_place: None) -> None:
    here, spare, standing = place
    old = here.ledgers[here.vault.holders[1].party]
    wanted = VaultUsesAsk(standing.vault, standing.generation, 0)
    with pytest.raises(UnexpectedMessage, match="when their time has come"):
        await old.on_uses_ask(spare.party, wanted, here.vault.standing)  # it may still consent to something
    with pytest.raises(UnexpectedMessage, match="when their time has come"):
        await old.on_uses_ask(keys_of("stranger").party, wanted, standing)
    await old.learn(standing, here.vault.holders[1].party)
    with pytest.raises(UnexpectedMessage, match="not whole"):
        await old.on_uses_ask(spare.party, wanted, standing)


async def test_long_ledgers_come_in_pieces_and_a_restart_loses_nothing(place, in_place: None) -> None:
    here, spare, standing = place
    count = 2 * MAX_PIECE + 3
    for number in range(count):
        asked = reading(here.vault, 10 + number)
        for seat in (number % 4, (number + 1) % 4, (number + 2) % 4):
            party = here.vault.holders[seat].party
            await here.ledgers[party]._write(standing.vault, asked)
    ledger = await learning(here, spare, standing)
    for _ in range(8):
        sender, receiver, message = here.mail.popleft()
        if isinstance(message, VaultUsesAsk):
            if receiver in here.ledgers:
                await here.ledgers[receiver].on_uses_ask(sender, message, standing)
        else:
            await ledger.on_uses(sender, message, here.row())
    assert not await ledger.is_whole(standing.vault)
    here.mail.clear()
    here.restart(spare.party)
    ledger = here.ledgers[spare.party]
    assert not await ledger.is_whole(standing.vault)
    await ledger.fetch()
    sizes = []
    await here.deliver(
        lambda _, message: (
            sizes.append(len(message.entries)) or message if isinstance(message, VaultUses) else message
        )
    )
    assert await ledger.is_whole(standing.vault)
    assert here.stores[spare.party].count_uses(bytes(standing.vault)) == count
    assert max(sizes) <= MAX_PIECE


async def test_pieces_out_of_order_empty_or_of_others_are_refused(place, in_place: None) -> None:
    here, spare, standing = place
    ledger = await learning(here, spare, standing)
    here.mail.clear()
    sender, number = here.vault.holders[1].party, standing.generation
    for bad, error in (
        (VaultUses(standing.vault, number, 5, (), True), UnexpectedMessage),
        (VaultUses(standing.vault, number + 1, 0, (), True), UnexpectedMessage),
        (VaultUses(standing.vault, number, 0, (), False), MalformedMessage),
    ):
        with pytest.raises(error):
            await ledger.on_uses(sender, bad, here.row())
    good = VaultUses(standing.vault, number, 0, (), True)
    with pytest.raises(UnexpectedMessage):
        await ledger.on_uses(spare.party, good, here.row())


def test_an_allowance_ends_and_comes_back() -> None:
    now = 0.0
    allowance, party = Allowance(lambda: now), PartyId(b"p" * 32)
    allowance.charge(party, AT_ONCE)
    with pytest.raises(UnexpectedMessage):
        allowance.charge(party, 1)
    allowance.charge(PartyId(b"q" * 32), 1)
    now = 2.0
    allowance.charge(party, 500)
    with pytest.raises(UnexpectedMessage):
        allowance.charge(party, 500)


async def test_readings_that_list_thousands_of_sites_do_not_fill_the_memory(place, in_place: None) -> None:
    here, _, _ = place
    sites = tuple(sorted(PartyId(number.to_bytes(32, "big")) for number in range(4096)))
    asked = [
        ask(READER.signing_seed, replace(reading(here.vault, number).reading, sites=sites[number:]))
        for number in range(0, 400, 10)
    ]
    words = [await here.enter(0, one) for one in asked]
    full = words.index("max_uses: the ledger is full")
    assert words[:full] == [None] * full
    store = here.stores[here.vault.holders[0].party]
    assert MAX_BYTES < store.bytes_of_uses(bytes(here.vault.standing.vault)) < 1.1 * MAX_BYTES
    assert await here.enter(0, asked[0]) is None  # known
