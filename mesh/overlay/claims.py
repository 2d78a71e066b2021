"""The adder claims of one epoch: made once by each gateway, verified, passed on to all.

Invariant: a standing is listed only for a certified gateway of the epoch whose VRF proof was checked; at
most one a party, at most MAX_GATEWAYS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from mesh.overlay.epoch_record import MAX_GATEWAYS, EpochRecord
from mesh.overlay.sortition import Claim, Standing, check_claim, claim
from mesh.overlay.view import View
from protocols.identifiers import Digest, PartyId
from protocols.machine import Broadcast, Effect
from protocols.wire.bounds import AtMost
from protocols.wire.digest import digest


@dataclass(frozen=True, slots=True)
class Claims:
    """Claims the receiver seems to lack."""

    KIND: ClassVar[str] = "claims"
    claims: Annotated[tuple[Claim, ...], AtMost(MAX_GATEWAYS)]


class ClaimBook:
    """Claims for the epoch of one record."""

    def __init__(self, record: EpochRecord) -> None:
        self._record = record
        self._standings: dict[PartyId, Standing] = {}

    @property
    def standings(self) -> Mapping[PartyId, Standing]:
        """Verified claims by party."""
        return self._standings

    @property
    def digest(self) -> Digest:
        """Equal for two nodes that hold claims of the same parties."""
        return digest("claimants", self._record.beacon, *sorted(self._standings))

    def all(self) -> list[Claims]:
        """Everything held, as messages; nothing if nothing is held."""
        held = tuple(Claim(p, self._record.epoch, s.proof) for p, s in sorted(self._standings.items()))
        return [Claims(held)] if held else []

    def claim(self, view: View, vrf_seed: bytes) -> list[Effect]:
        """Make our own claim and tell it to our links."""
        mine = claim(self._record, view.me, vrf_seed)
        return self._take(view, None, mine)

    def receive(self, view: View, sender: PartyId, message: Claim | Claims) -> list[Effect]:
        """Verify and keep new ones, and pass them on. Raises MalformedMessage for a false proof."""
        claims = message.claims if isinstance(message, Claims) else (message,)
        return [effect for each in claims for effect in self._take(view, sender, each)]

    def _take(self, view: View, source: PartyId | None, mine: Claim) -> list[Effect]:
        member = view.by_party.get(mine.party)
        if mine.epoch != self._record.epoch or mine.party in self._standings or member is None:
            return []
        self._standings[mine.party] = check_claim(self._record, member.certificate, mine.proof)
        others = tuple(
            m.party for m in view.members if m.linked and m.party not in (view.me, source, mine.party)
        )
        return [Broadcast(others, mine)] if others else []
