"""Vaults of our own that are to be erased: the order goes out, signed words come back and are kept.

Who is away when the order is given hears it when it is back. Once everybody confirmed, the deposit is over,
and what each holder signed stays for the owner to show.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import structlog
import trio

from mesh.api.shapes import VaultInfo
from mesh.data.vault import OwnRow
from mesh.overlay.view import View
from mesh.runtime.vaults import infos
from mesh.runtime.vaults import owner as vault_owner
from mesh.runtime.vaults.finder import Finder
from mesh.runtime.vaults.holder import Holder
from protocols.errors import UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.sessions.keys import PartyKeys
from protocols.vault.messages import VaultErased, VaultOrder, is_erased, order
from protocols.vault.standing import Standing
from protocols.wire import codec

log = structlog.get_logger("coppice.vault")

CONFIRM_S = 3.0
"""How long an order waits for the words of holders that are linked."""


class Erasing:
    """All orders to erase of this node."""

    def __init__(
        self,
        keys: PartyKeys,
        holder: Holder,
        finder: Finder,
        post: Callable[[Collection[PartyId], object], None],
        links: Callable[[], set[PartyId]],
        view: Callable[[], View],
    ) -> None:
        self._keys = keys
        self._store = holder.store
        self._stored = holder.stored
        self._finder = finder
        self._post = post
        self._links = links
        self._view = view
        self._waiting: dict[Digest, trio.Event] = {}

    async def unshare(self, name: str) -> VaultInfo:
        """Have a vault erased; the answer tells who confirmed so far. Raises LocalMisuse C-404."""
        rows = await self._stored(self._store.own, name)
        if not rows:
            raise vault_owner.unknown(name)
        row = rows[0]
        standing, _ = await self._finder.newest(codec.decode(Standing, row.standing))
        message = codec.decode(VaultOrder, row.proof) if row.proof else None
        message = message or order(self._keys.signing_seed, standing.terms)
        row = OwnRow(
            row.vault, row.name, row.source, row.since, codec.encode(standing), codec.encode(message)
        )
        await self._stored(self._store.put_own, row)
        vault = standing.vault
        self._post(standing.everyone, message)
        reachable = set(standing.everyone) & self._links()
        with trio.move_on_after(CONFIRM_S):
            while True:
                event = self._waiting[vault] = trio.Event()
                if reachable <= set(await self._stored(self._store.confirmed, row.vault)):
                    break
                await event.wait()
        self._waiting.pop(vault, None)
        return await self._finished(row, standing)

    async def on_erased(self, sender: PartyId, message: VaultErased) -> None:
        """A holder's word. Raises UnexpectedMessage."""
        rows = await self._stored(self._store.own, None, bytes(message.vault))
        if not rows or message.party != sender or not is_erased(message):
            raise UnexpectedMessage("a confirmation that nobody waits for, or a forged one")
        await self._stored(
            self._store.confirm, bytes(message.vault), bytes(message.party), codec.encode(message)
        )
        log.info("vault erased by", vault=message.vault.short(), holder=self._view().name(message.party))
        if message.vault in self._waiting:
            self._waiting.pop(message.vault).set()
        elif rows[0].proof is not None:
            await self._finished(rows[0], codec.decode(Standing, rows[0].standing))

    async def tell(self, peer: PartyId, *, but: Collection[Digest]) -> None:
        """Orders for a holder that was away when they were given; `but`: not of these."""
        for row in await self._stored(self._store.own):
            if row.proof is None or Digest(row.vault) in but:
                continue
            if peer not in codec.decode(Standing, row.standing).everyone:
                continue
            if peer not in await self._stored(self._store.confirmed, row.vault):
                self._post((peer,), codec.decode(VaultOrder, row.proof))

    async def over(self) -> list[VaultInfo]:
        """Vaults of ours that everybody erased, with their signed words."""
        found = []
        for row in await self._stored(self._store.receipts):
            confirmed = await self._stored(self._store.confirmed, row.vault)
            found.append(infos.of_own(self._view(), row, codec.decode(Standing, row.standing), confirmed, {}))
        return found

    async def _finished(self, row: OwnRow, standing: Standing) -> VaultInfo:
        """What stands of a vault that is being erased; once everybody confirmed, what they signed is kept."""
        confirmed = await self._stored(self._store.confirmed, row.vault)
        if set(standing.everyone) <= set(confirmed):
            await self._stored(self._store.finish_own, row.vault)
        return infos.of_own(self._view(), row, standing, confirmed, {})
