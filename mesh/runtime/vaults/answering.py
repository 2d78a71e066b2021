"""How this node answers as a holder: judges readings by the owner's terms and its ledger, and sends shares.

The cheap comes first: the row, the generation and the terms' own rules before the requester's signature, that
before the ledger. Stored before said: a reading is in the ledger before its consent leaves. The standing is
looked at again in between: a holder that has come to a later generation consents to nothing in an earlier
one, so a newcomer that is shown this ledger then misses nothing (see `protocols.vault.consent`).
"""

from __future__ import annotations

import os
from collections.abc import Callable

from mesh.overlay.view import View
from mesh.runtime.vaults.allowance import Allowance
from mesh.runtime.vaults.holder import Holder, standing_of
from mesh.runtime.vaults.ledger import Ledger
from mesh.runtime.vaults.talk import Post
from protocols.arithmetic.field import Elements
from protocols.errors import MalformedMessage, UnexpectedMessage
from protocols.identifiers import Digest, PartyId
from protocols.sessions.keys import PartyKeys
from protocols.vault import consent, deposit, reading
from protocols.vault.messages import Reading, VaultAsk, VaultRelease, VaultUses, VaultUsesAsk, is_asked
from protocols.vault.standing import Standing

ASK_PROOFS = 4
"""What judging a reading counts in its requester's allowance: a signature, and a look at all earlier ones."""
LEARNING = "it took its seat over a moment ago and learns still what was read before"


class Answering:
    """Readings of the vaults held here."""

    def __init__(
        self,
        keys: PartyKeys,
        holder: Holder,
        ledger: Ledger,
        post: Post,
        view: Callable[[], View],
        clock: Callable[[], float],
        allowance: Allowance,
    ) -> None:
        self._keys = keys
        self._holder = holder
        self._ledger = ledger
        self._post = post
        self._view = view
        self._clock = clock
        self._allowance = allowance

    async def on_ask(self, sender: PartyId, message: VaultAsk) -> None:
        """Judge a reading by the owner's terms and our ledger; write it down before consenting."""
        wanted = message.asked.reading
        self._allowance.charge(sender, ASK_PROOFS)
        standing, why = await self._standing_for(sender, message.vault, message.generation, wanted)
        if standing is None:
            self._decline(sender, wanted.name, why)
            return
        terms = standing.terms.terms
        words = consent.outright(terms, wanted, self._view().name(sender), self._clock())
        if words is None:
            if not await self._ledger.is_whole(message.vault):
                self._decline(sender, wanted.name, LEARNING)
                return
            if not is_asked(message.asked):
                raise MalformedMessage("a reading that its requester did not sign", blame=sender)
            words = await self._ledger.enter(terms, message.asked)
        if words is not None:
            self._decline(sender, wanted.name, words, denied=True)
            return
        standing, why = await self._standing_for(sender, message.vault, message.generation, wanted)
        if standing is None:
            self._decline(sender, wanted.name, why)
            return
        self._post((sender,), reading.consent(self._keys, standing, self._seat(standing), wanted))

    async def on_release(self, sender: PartyId, message: VaultRelease) -> None:
        """Send our share of an answer that a quorum of the holders consented to."""
        wanted = message.reading
        standing, why = await self._standing_for(sender, message.vault, message.generation, wanted)
        if standing is None:
            self._decline(sender, wanted.name, why)
            return
        if not await self._ledger.has(message.vault, wanted):
            raise UnexpectedMessage("a release of a reading that we did not consent to")
        member = self._view().by_party.get(sender)
        if member is None:
            raise UnexpectedMessage("a requester that we do not know")
        self._allowance.charge(sender, len(message.ballots))
        reading.check_release(standing, sender, message)
        share = await self._holder.share(standing)
        if share is None:
            self._decline(sender, wanted.name, "this holder has no share now")
            return
        key, seat = member.certificate.sealing_key, self._seat(standing)
        self._post((sender,), reading.release(standing, seat, share, message, key, os.urandom(32)))

    async def share_for(self, wanted: Reading, standing: Standing) -> Elements:
        """Our share for a sum over several vaults. Raises UnexpectedMessage unless we consented to it."""
        ours, why = await self._standing_for(wanted.requester, standing.vault, standing.generation, wanted)
        if ours is None:
            raise UnexpectedMessage(why)
        if not await self._ledger.has(standing.vault, wanted):
            raise UnexpectedMessage("this holder did not consent to that reading")
        share = await self._holder.share(ours)
        if share is None:
            raise UnexpectedMessage("this holder has no share now")
        return share

    async def consented(self, vault: Digest, wanted: Reading) -> bool:
        """Whether the reading stands in our ledger of a vault that we hold."""
        return await self._holder.row(vault) is not None and await self._ledger.has(vault, wanted)

    async def on_uses_ask(self, sender: PartyId, message: VaultUsesAsk) -> None:
        """A newcomer asks what was read before its time."""
        row = await self._holder.row(message.vault)
        if row is None or row.standing is None:
            raise UnexpectedMessage("a ledger of a vault that we do not hold")
        await self._ledger.on_uses_ask(sender, message, standing_of(row.standing))

    async def on_uses(self, sender: PartyId, message: VaultUses) -> None:
        """An old holder tells a newcomer what was read before its time."""
        row = await self._holder.row(message.vault)
        if row is None:
            raise UnexpectedMessage("a ledger of a vault that we do not hold")
        await self._ledger.on_uses(sender, message, row)

    async def _standing_for(
        self, sender: PartyId, vault: Digest, generation: int, wanted: Reading
    ) -> tuple[Standing | None, str]:
        """Our standing if the message is the requester's own and about what we hold now, else why not."""
        if wanted.requester != sender or vault not in wanted.vaults:
            raise MalformedMessage("a reading of somebody else, or of another vault", blame=sender)
        holder = self._holder
        row = await holder.row(vault)
        if row is None or row.standing is None:
            gone = await holder.stored(holder.store.ended, bytes(vault))
            return None, gone[0].reason if gone else "this node holds no share of it"
        if holder.is_over(row):
            await holder.expire()
            return None, "expired"
        standing = standing_of(row.standing)
        if standing.generation != generation or standing.seat_of(self._keys.party) is None:
            return None, f"it is in generation {standing.generation} now"
        return standing, ""

    def _seat(self, standing: Standing) -> int:
        seat = standing.seat_of(self._keys.party)
        assert seat is not None
        return seat

    def _decline(self, to: PartyId, about: Digest, why: str, *, denied: bool = False) -> None:
        self._post((to,), deposit.decline(to, about, why, denied=denied).message)
