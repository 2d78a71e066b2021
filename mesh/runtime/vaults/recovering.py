"""What this node missed of a vault's course, and what it tells others that missed something.

Who was away when a deposit or a renewal ended asks one fellow holder after the other for what its share is
made of (`protocols.vault.recovery`); who is dealt a share of a vault that it does not know asks whose it is.
A fragment that was destroyed after its holder had said that it has it does not come back so: nobody keeps it
any more; the next renewal gives that holder a new one.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import structlog
import trio

from mesh.runtime.vaults.allowance import Allowance
from mesh.runtime.vaults.holder import DEAL_PROOFS, SEED_BYTES, Holder, standing_of
from mesh.runtime.vaults.talk import Post
from protocols.errors import UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.sessions.keys import PartyKeys
from protocols.vault.gathering import seat_in
from protocols.vault.recovery import Recovery, Remains, VaultMissed, VaultRemains
from protocols.vault.renewal_messages import VaultDeal
from protocols.vault.standing import Standing, origin
from protocols.wire import codec

log = structlog.get_logger("coppice.vault")

ASK_S = 1.0
MAX_ASKED = 1024
ANSWER_PROOFS = 4
"""What our remains or standing count in the allowance of who asks for them."""


class Recovering:
    """Asks and answers. A renewal that runs without our share finds it once it is stored."""

    def __init__(
        self,
        keys: PartyKeys,
        holder: Holder,
        post: Post,
        links: Callable[[], set[PartyId]],
        allowance: Allowance,
    ) -> None:
        self._keys = keys
        self._holder = holder
        self._store = holder.store
        self._post = post
        self._links = links
        self._allowance = allowance
        self._whole: dict[Digest, Digest] = {}
        self._asked: dict[Digest, float] = {}
        self._ways: dict[Digest, Recovery] = {}
        self._turn = 0

    async def look(self, standing: Standing) -> None:
        """Every second: without a share of the standing's generation, ask a fellow what it is made of."""
        vault, made = standing.vault, origin(standing)
        if standing.seat_of(self._keys.party) is None or self._whole.get(vault) == made:
            return
        if await self._holder.share(standing) is not None:
            self._whole[vault] = made
            self._ways.pop(vault, None)
            return
        there = sorted((set(standing.members) & self._links()) - {self._keys.party})
        if there:
            self._turn += 1
            self._post((there[self._turn % len(there)],), self._way(standing).ask())

    def _way(self, standing: Standing) -> Recovery:
        """What we have learned so far of the share that we miss."""
        way = self._ways.get(standing.vault)
        if way is None or way.origin != origin(standing):
            way = self._ways[standing.vault] = Recovery(self._keys, standing)
        return way

    def wonder(self, sender: PartyId, message: VaultDeal, known: Standing | None) -> None:
        """A dealing of a vault without a standing here (`known`: shown by others): ask whose it is."""
        place, now = message.place, trio.current_time()
        stale = known is None or known.generation < place.generation
        if not stale or seat_in(message.seats, self._keys.party) is None:
            return
        if now < self._asked.get(place.vault, -ASK_S) + ASK_S:
            return
        self._asked = {v: at for v, at in self._asked.items() if now < at + ASK_S}
        if len(self._asked) < MAX_ASKED:
            self._asked[place.vault] = now
            self._post((sender,), VaultMissed(place.vault, None))

    async def on_missed(self, sender: PartyId, message: VaultMissed) -> None:
        """Somebody lacks a standing or a share. Raises UnexpectedMessage if we cannot help."""
        self._allowance.charge(sender, ANSWER_PROOFS + DEAL_PROOFS * len(message.complaints))
        row = await self._holder.row(message.vault)
        if row is None or row.standing is None:
            raise UnexpectedMessage("a question about a vault that we do not hold")
        standing = standing_of(row.standing)
        if message.generation is None or message.generation < standing.generation:
            self._post((sender,), standing)
            return
        kept = await self._holder.stored(self._store.kept, row.vault, standing.generation)
        seat = standing.seat_of(sender)
        if seat is None or kept is None or message.generation != standing.generation:
            raise UnexpectedMessage("nothing is kept here for who asks")
        remains = codec.decode(Remains, kept)
        answer = await trio.to_thread.run_sync(remains.answer, self._keys, standing, seat, message.complaints)
        if answer is not None:
            self._post((sender,), answer)

    async def on_remains(self, sender: PartyId, message: VaultRemains) -> None:
        """What our share is made of. Raises ProtocolError."""
        row = await self._holder.row(message.vault)
        standing = standing_of(row.standing) if row is not None and row.standing else None
        if row is None or standing is None or await self._holder.share(standing) is not None:
            raise UnexpectedMessage("we lack no share")
        self._allowance.charge(sender, DEAL_PROOFS * max(1, len(message.dealings) + len(message.shown)))
        share = await trio.to_thread.run_sync(self._way(standing).receive, message)
        if share is None:
            log.warning("a dealer dealt us alone a bad share", vault=standing.vault.short())
            return
        body, made = os.urandom(SEED_BYTES) + share.astype("<u8").tobytes(), bytes(origin(standing))
        await self._holder.stored(self._store.put_fragment, row.vault, standing.generation, made, body)
        log.info("vault share recovered", vault=standing.vault.short(), generation=standing.generation)
