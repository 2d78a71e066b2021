"""Which standing of each vault counts here: what it changes when a newer one is shown or certified.

A holder that was away learns from a newer standing that it was replaced, or that its share is old, and erases
what it had.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import structlog
import trio

from mesh.data.vault import HeldRow
from mesh.overlay.view import View
from mesh.runtime.vaults.allowance import Allowance
from mesh.runtime.vaults.holder import Holder, standing_of
from mesh.runtime.vaults.ledger import Ledger
from mesh.runtime.vaults.talk import Post
from protocols.errors import UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.vault.messages import VaultOrder
from protocols.vault.standing import Standing, check_standing, held_throughout, origin, proofs
from protocols.wire import codec

log = structlog.get_logger("coppice.vault")

MAX_CANDIDATES = 64


class Standings:
    """The newest certified standings here, and those of vaults of which we may become a holder."""

    def __init__(
        self,
        me: PartyId,
        mesh: Digest,
        holder: Holder,
        post: Post,
        view: Callable[[], View],
        clock: Callable[[], float],
        ledger: Ledger,
        allowance: Allowance,
        adopted: Callable[[Digest], None],
    ) -> None:
        """`adopted` hears of each vault whose standing changed."""
        self.candidates: OrderedDict[Digest, Standing] = OrderedDict()
        self._me = me
        self._mesh = mesh
        self._holder = holder
        self._store = holder.store
        self._post = post
        self._view = view
        self._clock = clock
        self._ledger = ledger
        self._allowance = allowance
        self._adopted = adopted

    async def on_standing(self, sender: PartyId, message: Standing) -> None:
        """Somebody shows who holds a vault. Raises MalformedMessage if it proves nothing.

        Signatures are checked of what would change something, and no more of one party's than its allowance.
        """
        if await self.is_over(sender, message.vault):
            return
        rows = await self._holder.stored(self._store.held, bytes(message.vault))
        if not rows or rows[0].standing is None:
            await self._consider(sender, message, rows)
            return
        ours = standing_of(rows[0].standing)
        if ours.generation > message.generation:
            if sender in ours.everyone:
                self._post((sender,), ours)
        elif ours.generation < message.generation:
            await self._check(sender, message, ours)
            await self.adopt(message)

    async def is_over(self, sender: PartyId, vault: Digest) -> bool:
        """Whether a vault ended here; who still holds it was away when the owner had it erased, or is new."""
        gone = await self._holder.stored(self._store.ended, bytes(vault))
        if gone and gone[0].proof is not None:
            self._post((sender,), codec.decode(VaultOrder, gone[0].proof))
        return bool(gone)

    async def _check(self, sender: PartyId, message: Standing, known: Standing | None) -> None:
        self._allowance.charge(sender, proofs(message, known))
        await trio.to_thread.run_sync(check_standing, message, self._mesh, known)

    async def _consider(self, sender: PartyId, message: Standing, rows: Sequence[HeldRow]) -> None:
        """A vault that we hold nothing certified of: we may have a share, or be wanted as a substitute."""
        every, terms = await self._holder.stored(self._store.held), message.terms.terms
        known_here = sum(party in self._view().by_party for party in message.members)
        if not rows and (self._holder.no_room(every, terms) or known_here < terms.quorum):
            raise UnexpectedMessage("a vault of holders that we do not know, or more than we may hold")
        known = self.candidates.get(message.vault)
        if message.seat_of(self._me) is not None:
            await self._check(sender, message, known)
            await self.adopt(message)
        elif rows:  # an offer to us that was never certified here, and by now others have its seats
            await self._check(sender, message, known)
            if message.generation:
                await self.adopt(message)
        elif message.seat_of(sender) is None:
            raise UnexpectedMessage("a vault that is no concern of ours")
        elif known is None or known.generation < message.generation:
            await self._check(sender, message, known)
            self.candidates[message.vault] = message
            while len(self.candidates) > MAX_CANDIDATES:
                self.candidates.popitem(last=False)

    async def linked(self, peer: PartyId) -> None:
        """A peer came back: it may have missed who holds what now."""
        for row in await self._holder.stored(self._store.held):
            standing = standing_of(row.standing) if row.standing else None
            if standing is not None and peer in standing.everyone:
                self._post((peer,), standing)

    async def adopt(self, standing: Standing) -> None:
        """This standing counts from now on: store it, then erase what came before it."""
        vault, body, now = bytes(standing.vault), codec.encode(standing), self._clock()
        terms = standing.terms.terms
        if await self._holder.stored(self._store.ended, vault):
            await self._holder.stored(self._store.erase_fragments, vault)
            return
        if standing.seat_of(self._me) is None:
            await self._holder.stored(self._store.drop, vault)
            log.info("vault passed on", vault=standing.vault.short(), generation=standing.generation)
            return
        held = await self._holder.row(standing.vault)
        newcomer = not _stayed(held, standing, self._me)
        if newcomer:
            await self._ledger.learn(standing, self._me)
        if held is None:
            signed = codec.encode(standing.terms)
            row = HeldRow(vault, terms.name, bytes(terms.owner), signed, None, now, now, terms.most_bytes)
            await self._holder.stored(self._store.offered, row)
        await self._holder.stored(self._store.certified, vault, body, now)
        if newcomer:
            await self._ledger.fetch()
        await self.erase_old(standing)
        await self._holder.stored(self._store.forget_votes, vault, standing.generation)
        self.candidates.pop(standing.vault, None)
        self._adopted(standing.vault)
        log.info("vault renewed", vault=standing.vault.short(), generation=standing.generation)

    async def erase_old(self, standing: Standing) -> None:
        """Destroy shares of earlier generations, and of failed rounds of this one."""
        below, keep = standing.generation, bytes(origin(standing))
        await self._holder.stored(self._store.erase_fragments, bytes(standing.vault), below, keep)


def _stayed(held: HeldRow | None, standing: Standing, me: PartyId) -> bool:
    """Whether we have held a seat in every generation since the one that we know."""
    if held is None:
        return False
    known = standing_of(held.standing) if held.standing else Standing(standing.terms, standing.deposit, ())
    return known.seat_of(me) is not None and held_throughout(standing, me, known.generation)
