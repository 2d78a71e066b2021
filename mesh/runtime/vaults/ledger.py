"""Which readings of the vaults held here are known to this holder, and how it learns those before its time.

`protocols.vault.consent` says why a newcomer needs the ledgers of `terms.witnesses` old holders before it may
consent to anything, and why an old holder shows its own only when it stands in a later generation. The
newcomer fetches them piece by piece, as each of the pieces is bounded; where it is in each ledger is kept in
memory, what it has learned on disk, so that a restart begins anew and loses nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import structlog
import trio

from mesh.data.vault import HeldRow, VaultStore
from mesh.overlay.view import View
from mesh.runtime.vaults.allowance import Allowance
from mesh.runtime.vaults.talk import Post
from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.vault import consent
from protocols.vault.consent import Use
from protocols.vault.messages import (
    MAX_PIECE,
    MAX_USES,
    Asked,
    Reading,
    VaultUses,
    VaultUsesAsk,
    is_asked,
)
from protocols.vault.standing import Standing, before
from protocols.vault.terms import SignedTerms, Terms
from protocols.wire import codec

log = structlog.get_logger("coppice.vault")

PIECE_BYTES = 256 * 1024
MAX_BYTES = 4_000_000
"""Of the readings of one vault that are entered here: one can list thousands of sites."""
MAX_DECODED = 8
"""Vaults whose ledgers are kept decoded, for the comparison of each reading with all earlier ones."""
PIECE_PROOFS = 4
"""What a piece of our ledger counts in the allowance of who asks for it."""
_PARTY_BYTES = 32

T_co = TypeVar("T_co", covariant=True)


class Stored(Protocol):
    """Runs a call of the store, which blocks."""

    def __call__(self, call: Callable[..., T_co], *arguments: object) -> Awaitable[T_co]:
        """Its result."""


@dataclass(slots=True)
class _Lesson:
    """What old holders have shown so far: how far we are in each ledger, and which we have whole."""

    next: dict[PartyId, int] = field(default_factory=dict)
    whole: set[PartyId] = field(default_factory=set)


class Ledger:
    """The readings of all vaults held here."""

    def __init__(
        self,
        store: VaultStore,
        stored: Stored,
        post: Post,
        view: Callable[[], View],
        clock: Callable[[], float],
        allowance: Allowance,
    ) -> None:
        self._store = store
        self._stored = stored
        self._post = post
        self._view = view
        self._clock = clock
        self._allowance = allowance
        self._decoded: OrderedDict[Digest, list[Use]] = OrderedDict()
        self._lessons: dict[Digest, _Lesson] = {}

    # -- judging --------------------------------------------------------------------------------------

    async def is_whole(self, vault: Digest) -> bool:
        """Whether we know all readings that we have to know before consenting to one."""
        return bytes(vault) not in await self._stored(self._store.learning)

    async def has(self, vault: Digest, reading: Reading) -> bool:
        """Whether we consented to the same use."""
        return await self._stored(self._store.has_use, bytes(vault), bytes(consent.use_of(reading).name))

    async def enter(self, terms: Terms, asked: Asked) -> str | None:
        """Write down a reading that the terms allow outright, or say which rule it breaks now."""
        use, words = consent.use_of(asked.reading), None
        known = await self.has(terms.vault, asked.reading)
        if not known:
            vault = bytes(terms.vault)
            count = await self._stored(self._store.count_uses, vault)
            full = count >= MAX_USES or await self._stored(self._store.bytes_of_uses, vault) > MAX_BYTES
            words = "max_uses: the ledger is full" if full else consent.spent(terms, count)
        # Also one that we know: others told us of it, and of what they answered instead.
        if words is None and terms.consent.min_sites > 1:
            earlier = await self._uses(terms.vault)
            words = await trio.to_thread.run_sync(consent.overlap, terms, use, earlier)
        if words is None and not known:
            await self._write(terms.vault, asked)
        return words

    async def _uses(self, vault: Digest) -> list[Use]:
        known = self._decoded.setdefault(vault, [])
        self._decoded.move_to_end(vault)
        while len(self._decoded) > MAX_DECODED:
            self._decoded.popitem(last=False)
        bodies = await self._stored(self._store.uses, bytes(vault), len(known))
        known += await trio.to_thread.run_sync(_decoded, bodies)
        return known

    async def _write(self, vault: Digest, asked: Asked) -> None:
        name = bytes(consent.use_of(asked.reading).name)
        await self._stored(self._store.use, bytes(vault), name, self._clock(), codec.encode(asked))

    # -- learning -------------------------------------------------------------------------------------

    async def learn(self, standing: Standing, me: PartyId) -> None:
        """We come to hold a seat: consent to nothing before those who held them have told what was read."""
        holders = b"".join(party for party in before(standing) if party != me)
        self._lessons.pop(standing.vault, None)
        self._decoded.pop(standing.vault, None)
        await self._stored(self._store.learn, bytes(standing.vault), standing.generation, holders)

    async def fetch(self) -> None:
        """Ask the old holders for what we miss; to be called now and then."""
        waiting = await self._stored(self._store.learning)
        for vault, (generation, body) in waiting.items():
            lesson = self._lessons.setdefault(Digest(vault), _Lesson())
            for party in _parties(body) - lesson.whole:
                self._post((party,), VaultUsesAsk(Digest(vault), generation, lesson.next.get(party, 0)))
        for vault_ in self._lessons.keys() - {Digest(vault) for vault in waiting}:
            del self._lessons[vault_]

    async def on_uses_ask(self, sender: PartyId, message: VaultUsesAsk, standing: Standing) -> None:
        """Show a piece of our ledger to who holds a seat now, if what is before its time is closed here."""
        self._allowance.charge(sender, PIECE_PROOFS)
        if standing.generation < message.generation or standing.seat_of(sender) is None:
            raise UnexpectedMessage("a ledger is shown to those who hold a seat, when their time has come")
        if not await self.is_whole(message.vault):
            raise UnexpectedMessage("our ledger is not whole itself")
        bodies = await self._stored(self._store.uses, bytes(message.vault), message.first, MAX_PIECE + 1)
        entries: list[Asked] = []
        size = 0
        for body in bodies[:MAX_PIECE]:
            size += len(body)
            if entries and size > PIECE_BYTES:
                break
            entries.append(codec.decode(Asked, body))
        whole = len(entries) == len(bodies)
        self._post(
            (sender,),
            VaultUses(message.vault, message.generation, message.first, tuple(entries), whole),
        )

    async def on_uses(self, sender: PartyId, message: VaultUses, row: HeldRow) -> None:
        """A piece of an old holder's ledger. Raises ProtocolError."""
        generation, body = (await self._stored(self._store.learning)).get(bytes(message.vault), (-1, b""))
        lesson = self._lessons.get(message.vault)
        if lesson is None or generation != message.generation or sender not in _parties(body) - lesson.whole:
            raise UnexpectedMessage("a ledger that we do not need")
        if message.first != lesson.next.get(sender, 0):
            raise UnexpectedMessage("a piece of a ledger out of order")
        if not message.entries and not message.whole:
            raise MalformedMessage("a piece of a ledger with nothing in it", blame=sender)
        terms = codec.decode(SignedTerms, row.terms).terms
        await self._take(sender, terms, message.entries)
        lesson.next[sender] = message.first + len(message.entries)
        if message.whole:
            lesson.whole.add(sender)
        elif lesson.next[sender] >= MAX_USES:
            raise MalformedMessage("a ledger without end", blame=sender)
        else:
            self._post((sender,), VaultUsesAsk(message.vault, generation, lesson.next[sender]))
        if len(lesson.whole) >= terms.witnesses:
            del self._lessons[message.vault]
            await self._stored(self._store.learned, bytes(message.vault))
            count = await self._stored(self._store.count_uses, bytes(message.vault))
            log.info("vault ledger taken over", vault=message.vault.short(), readings=count)

    async def _take(self, sender: PartyId, terms: Terms, entries: tuple[Asked, ...]) -> None:
        """Write down what is new, signed by its requester, and may have been consented to."""
        fresh = [asked for asked in entries if not await self.has(terms.vault, asked.reading)]
        self._allowance.charge(sender, len(fresh))
        if not await trio.to_thread.run_sync(lambda: all(is_asked(asked) for asked in fresh)):
            raise MalformedMessage("a ledger with a reading that nobody asked for", blame=sender)
        members = self._view().by_party
        for asked in fresh:
            member = members.get(asked.reading.requester)
            name = member.certificate.name if member else ""
            if consent.may_have_been(terms, asked.reading, name):
                await self._write(terms.vault, asked)


def _decoded(bodies: tuple[bytes, ...]) -> list[Use]:
    return [consent.use_of(codec.decode(Asked, body).reading) for body in bodies]


def _parties(body: bytes) -> set[PartyId]:
    return {PartyId(body[at : at + _PARTY_BYTES]) for at in range(0, len(body), _PARTY_BYTES)}
