"""What this node does as a holder: takes shares within what its person lets it hold, keeps them, erases them.

Everything here runs in one task, message by message. Stored before said: a share before its receipt, an
erasure before its confirmation. Readings are in `answering`, renewals in `keeper`. A vault that ended here is
never taken again.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
import structlog
import trio

from mesh.data.errors import DataError
from mesh.data.vault import HeldRow, VaultStore
from mesh.overlay.view import View
from mesh.runtime.vaults.allowance import Allowance
from mesh.runtime.vaults.talk import Post
from mesh.settings import Config
from protocols.arithmetic.field import Elements
from protocols.errors import MalformedMessage, ProtocolError, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect, Send
from protocols.sessions.keys import PartyKeys
from protocols.sessions.messages import Ballot
from protocols.vault import deposit, recovery
from protocols.vault.dealing import BadShare
from protocols.vault.messages import (
    VaultBadShare,
    VaultCertified,
    VaultFind,
    VaultFound,
    VaultOffer,
    VaultOrder,
    VaultReceipt,
    erased,
    is_order,
)
from protocols.vault.recovery import Remains
from protocols.vault.standing import ACK, Deposit, Standing, check_standing, deposit_subject, is_valid, proofs
from protocols.vault.standing import origin as origin_of
from protocols.vault.terms import SignedTerms, Terms, check_terms
from protocols.wire import codec

log = structlog.get_logger("coppice.vault")

OFFER_S = 3600.0
"""An uncertified share is dropped after this."""
DEAL_PROOFS = 16
"""What judging a dealing counts in its sender's allowance: a proof, a sealing, and a long share."""
MAX_PER_OWNER = 64
MAX_HELD = 1024
"""Vaults of all owners: each is looked at every second and renewed every epoch."""
MAX_EARLY = 64
"""Vaults whose receipts may come before the offer."""
SEED_BYTES = 32
"""Before the share in a fragment: the randomness by which a renewal deals it, the same after a restart."""

T = TypeVar("T")


class Holder:
    """This node's part in other people's vaults."""

    def __init__(
        self,
        keys: PartyKeys,
        mesh: Digest,
        config: Config,
        store: VaultStore,
        post: Post,
        view: Callable[[], View],
        clock: Callable[[], float],
        allowance: Allowance,
    ) -> None:
        self.store = store
        self._allowance = allowance
        self._keys = keys
        self._mesh = mesh
        self._limit = int(config.vault_hold_mb * 1e6)
        self._post = post
        self._view = view
        self._clock = clock
        self._one = trio.CapacityLimiter(1)
        self._early: OrderedDict[Digest, dict[PartyId, VaultReceipt]] = OrderedDict()
        self._orphans: dict[bytes, float] = {}
        self._receipts: dict[Digest, dict[int, Ballot]] = {}

    async def stored(self, call: Callable[..., T], *arguments: object) -> T:
        """Run a call of the store: it blocks."""
        return await trio.to_thread.run_sync(call, *arguments, limiter=self._one)

    # -- deposits -------------------------------------------------------------------------------------

    async def on_offer(self, sender: PartyId, message: VaultOffer) -> None:
        """Take a share, or say why not."""
        self._allowance.charge(sender, DEAL_PROOFS)
        terms = check_terms(message.terms, self._mesh)
        if sender != terms.owner:
            raise MalformedMessage("a vault is offered by its owner", blame=sender)
        why = await self._unwilling(terms)
        if why is not None:
            self._carry([deposit.decline(sender, terms.vault, why, denied=True)])
            return
        taken = await trio.to_thread.run_sync(deposit.take, self._keys, sender, message)
        if isinstance(taken, BadShare):
            log.warning("bad share", owner=self._view().name(sender), vault=terms.vault.short())
            await self.stored(self.store.end, terms.vault, terms.name, self._clock(), "bad dealer", None)
            self._carry(deposit.refuse(self._keys, message, taken))
            return
        if (held := await self.row(terms.vault)) is None:
            now = self._clock()
            row = HeldRow(
                bytes(terms.vault), terms.name, bytes(terms.owner), codec.encode(message.terms), None, now,
                now, terms.most_bytes,
            )  # fmt: skip
            share = os.urandom(SEED_BYTES) + taken.share.astype("<u8").tobytes()
            await self.stored(self.store.put_fragment, bytes(terms.vault), 0, bytes(taken.dealing), share)
            mine = next(i for i, seat in enumerate(terms.seats) if seat.party == self._keys.party)
            remains = codec.encode(recovery.of_deposit(terms, message.deal, mine))
            await self.stored(self.store.keep, row.vault, 0, remains)
            await self.stored(self.store.offered, row)  # the last: it says that all of it is here
        elif (found := await self.stored(self.store.fragment, held.vault, 0)) is None or found[
            0
        ] != taken.dealing:
            raise MalformedMessage("the owner deals one vault twice", blame=sender)
        others = tuple(seat.party for seat in terms.seats)  # any of them can complete the certificate
        self._post((sender, *others), taken.receipt)
        for party, receipt in self._early.pop(terms.vault, {}).items():
            with contextlib.suppress(ProtocolError):  # a forged one must not stop the good ones
                await self.on_receipt(party, receipt)

    async def on_receipt(self, sender: PartyId, message: VaultReceipt) -> None:
        """A fellow holder has its share. With a quorum the vault stands, though its owner may be gone."""
        row = await self.row(message.vault)
        if row is None:
            if message.vault not in self._early and len(self._early) >= MAX_EARLY:
                self._early.popitem(last=False)
            self._early.setdefault(message.vault, {}).setdefault(sender, message)
            return
        signed = codec.decode(SignedTerms, row.terms)
        terms, seat = signed.terms, message.ballot.seat
        subject = deposit_subject(terms.vault, message.dealing)
        if not is_valid(terms.seats, message.ballot, ACK, subject) or terms.seats[seat].party != sender:
            raise MalformedMessage("a forged receipt", blame=sender)
        found = await self.stored(self.store.fragment, row.vault, 0)
        if found is None or found[0] != message.dealing:
            raise UnexpectedMessage("a receipt for another dealing")
        await self._has_its_share(row, seat)
        if row.standing is not None:
            return
        receipts = self._receipts.setdefault(terms.vault, {})
        receipts[seat] = message.ballot
        if len(receipts) >= terms.quorum:
            ballots = tuple(receipts[seat] for seat in sorted(receipts))
            await self._certify(row, Standing(signed, Deposit(message.dealing, ballots), ()))

    async def _has_its_share(self, row: HeldRow, *seats: int) -> None:
        """What these seats were dealt is kept no longer."""
        kept = await self.stored(self.store.kept, row.vault, 0)
        if kept is not None:
            remains = codec.decode(Remains, kept)
            if (less := remains.without(seats)) != remains:
                body = codec.encode(less) if less.seats else b""
                await self.stored(self.store.keep, row.vault, 0, body)

    async def _certify(self, row: HeldRow, standing: Standing) -> None:
        self._receipts.pop(standing.vault, None)
        await self.stored(self.store.certified, row.vault, codec.encode(standing), self._clock())
        owner = standing.terms.terms.owner
        log.info("vault held", vault=standing.vault.short(), owner=self._view().name(owner))

    async def _unwilling(self, terms: Terms) -> str | None:
        if await self.stored(self.store.ended, bytes(terms.vault)):
            return "this vault ended"
        rows = await self.stored(self.store.held)
        if any(row.vault == terms.vault for row in rows):
            return None
        return self.no_room(rows, terms)

    def no_room(self, rows: Sequence[HeldRow], terms: Terms) -> str | None:
        """Why one vault more is too much for what this node's person lets it hold, or None."""
        if sum(row.size_bytes for row in rows) + terms.most_bytes > self._limit:
            return f"this node holds at most {self._limit / 1e6:g} MB for others (vault.hold_mb)"
        if len(rows) >= MAX_HELD:
            return f"this node holds {MAX_HELD} vaults already"
        if sum(row.owner == terms.owner for row in rows) >= MAX_PER_OWNER:
            return f"this node holds {MAX_PER_OWNER} vaults of this owner already"
        if terms.consent.expires_s and self._clock() >= terms.consent.expires_s:
            return "the vault's time is over"
        return None

    async def on_certified(self, sender: PartyId, message: VaultCertified) -> None:
        """The deposit is complete."""
        row = await self.row(message.vault)
        if row is None or row.owner != sender:
            raise UnexpectedMessage("a certificate that was not waited for")
        if row.standing is not None:  # the receipts of the others were here sooner
            return
        standing = Standing(codec.decode(SignedTerms, row.terms), message.deposit, ())
        self._allowance.charge(sender, proofs(standing))
        check_standing(standing, self._mesh)
        if sum(party in self._view().by_party for party in standing.members) < standing.terms.terms.quorum:
            raise UnexpectedMessage("a vault of holders that we do not know")
        found = await self.stored(self.store.fragment, row.vault, 0)
        if found is None or found[0] != message.deposit.dealing:
            raise MalformedMessage("the certificate of another dealing", blame=sender)
        await self._has_its_share(row, *(ballot.seat for ballot in message.deposit.ballots))
        await self._certify(row, standing)

    async def on_bad_share(self, sender: PartyId, message: VaultBadShare) -> None:
        """A fellow holder shows what the owner dealt it: if that is true, nothing of it is kept."""
        terms = message.terms.terms
        row = await self.row(terms.vault)
        if row is None or (row.standing is not None and standing_of(row.standing).generation):
            raise UnexpectedMessage("a proof about a vault that we do not hold, or no longer from its owner")
        self._allowance.charge(sender, DEAL_PROOFS)
        check_terms(message.terms, self._mesh)
        if not await trio.to_thread.run_sync(deposit.is_guilty, message):
            raise MalformedMessage("a proof against a vault's owner that proves nothing", blame=sender)
        log.warning("fault", party=self._view().name(terms.owner), fault="dealt a bad share", proven=True)
        await self.stored(self.store.end, row.vault, terms.name, self._clock(), "bad dealer", None)

    # -- what we hold ---------------------------------------------------------------------------------

    async def on_find(self, sender: PartyId, message: VaultFind) -> None:
        """What we hold of that name or id; members may know that a vault exists."""
        wanted = bytes.fromhex(message.name) if _is_id(message.name) else None
        name = None if wanted else message.name
        rows = await self.stored(partial(self.store.held, wanted, name))
        gone = await self.stored(partial(self.store.ended, wanted, name))
        ended = tuple((Digest(row.vault), row.reason) for row in gone[-8:])
        shown = [(row, standing_of(row.standing)) for row in rows[-4:] if row.standing]
        uses = [await self.stored(self.store.count_uses, row.vault) for row, _ in shown]
        told = [count if row.owner == sender else 0 for count, (row, _) in zip(uses, shown, strict=True)]
        answer = VaultFound(
            message.id,
            tuple(standing for _, standing in shown),
            ended,
            tuple(int(row.renewed) for row, _ in shown),
            tuple(told),
        )
        self._post((sender,), answer)  # also nothing is an answer

    async def share(self, standing: Standing) -> Elements | None:
        """Our share (width,) of a standing's generation, or None while we have none."""
        return (await self.fragment(standing))[0]

    async def fragment(self, standing: Standing) -> tuple[Elements | None, bytes]:
        """The share, and the secret seed of its renewal. One torn by a crash is none: renewing mends that."""
        vault, made = bytes(standing.vault), bytes(origin_of(standing))
        try:
            found = await self.stored(self.store.fragment, vault, standing.generation, made)
        except DataError as error:
            log.error("a vault's share is lost", vault=standing.vault.short(), why=error.sentence())
            found = None
        if found is None:
            return None, b""
        body = found[1]
        return np.frombuffer(body[SEED_BYTES:], dtype="<u8").astype(np.uint64), body[:SEED_BYTES]

    # -- the end --------------------------------------------------------------------------------------

    async def on_order(self, sender: PartyId, message: VaultOrder) -> None:
        """Erase, confirm to the owner, and pass the order on to the other holders.

        Also who has nothing of it remembers: it may be about to take a seat, and says that it keeps nothing.
        """
        self._allowance.charge(sender, 3)
        terms = check_terms(message.terms, self._mesh)
        if not is_order(message):
            raise MalformedMessage("an order to erase that the owner did not give", blame=sender)
        row = await self.row(terms.vault)
        gone = await self.stored(self.store.ended, bytes(terms.vault))
        if not gone:
            held = row is not None and row.standing is not None
            proof = codec.encode(message) if held else None  # large, and orders can be invented at will
            why = "erased by its owner" if held else "erased before it was certified here"
            await self.stored(self.store.end, bytes(terms.vault), terms.name, self._clock(), why, proof)
            log.info("vault erased", vault=terms.vault.short(), owner=self._view().name(terms.owner))
        me = self._keys.party
        word = erased(self._keys.signing_seed, me, terms.vault, int(self._clock()))
        self._post((terms.owner,), word)
        if row is not None:
            standing = standing_of(row.standing) if row.standing else None
            known = standing.everyone if standing else tuple(seat.party for seat in terms.seats)
            self._post((party for party in known if party not in (me, sender)), message)

    async def expire(self) -> None:
        """Erase what is past its date, offers never certified, and shares of what did not come about."""
        now = self._clock()
        orphans = await self.stored(self.store.orphans)
        self._orphans = {vault: self._orphans.get(vault, now) for vault in orphans}
        for vault, since in self._orphans.items():
            if now > since + OFFER_S:
                await self.stored(self.store.drop, vault)
        for row in await self.stored(self.store.held):
            if self.is_over(row):
                await self.stored(self.store.end, row.vault, row.name, now, "expired", None)
                log.info("vault expired", vault=row.vault.hex()[:8])
            elif row.standing is None and now > row.since + OFFER_S:
                await self.stored(self.store.drop, row.vault)

    def is_over(self, row: HeldRow) -> bool:
        """Whether the vault's date is past."""
        ends = codec.decode(SignedTerms, row.terms).terms.consent.expires_s
        return bool(ends) and self._clock() >= ends

    async def linked(self, peer: PartyId) -> None:
        """A peer came (back): orders for vaults that it may hold still."""
        for gone in await self.stored(self.store.ended):
            if gone.proof is None:
                continue
            message = codec.decode(VaultOrder, gone.proof)
            if peer == message.terms.terms.owner:
                word = erased(self._keys.signing_seed, self._keys.party, Digest(gone.vault), int(gone.at))
                self._post((peer,), word)
            elif peer in {seat.party for seat in message.terms.terms.seats}:
                self._post((peer,), message)

    async def row(self, vault: Digest) -> HeldRow | None:
        """What is held here of a vault, if anything."""
        rows = await self.stored(self.store.held, bytes(vault))
        return rows[0] if rows else None

    def _carry(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._post((effect.to,), effect.message)
            elif isinstance(effect, Broadcast):
                self._post(effect.to, effect.message)


@functools.lru_cache(maxsize=MAX_HELD)
def standing_of(body: bytes) -> Standing:
    """A stored standing, decoded once."""
    return codec.decode(Standing, body)


def _is_id(name: str) -> bool:
    return len(name) == 64 and all(letter in "0123456789abcdef" for letter in name)
