"""Where the other members were last seen, kept so that a restarted node finds its mesh again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from mesh.overlay.announcement import MAX_ADDRESSES
from mesh.overlay.ticket import Address
from protocols.identifiers import PartyId
from protocols.wire.bounds import AtMost


@dataclass(frozen=True, slots=True)
class Known:
    """One member's addresses."""

    party: PartyId
    addresses: Annotated[tuple[Address, ...], AtMost(MAX_ADDRESSES)]


@dataclass(frozen=True, slots=True)
class KnownMembers:
    """The addresses to try first."""

    members: Annotated[tuple[Known, ...], AtMost(64)]
