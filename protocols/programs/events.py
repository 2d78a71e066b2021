"""What a program session tells its own device, beside the events that all sessions have."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.identifiers import PartyId


@dataclass(frozen=True, slots=True)
class Begun:
    """An attempt begins before this layer, computed by these members; `sites` owners count."""

    attempt: int
    layer: int
    members: tuple[PartyId, ...]
    sites: int


@dataclass(frozen=True, slots=True)
class Certified:
    """To an owner: if anything is opened, it is over these owners' values."""

    roster: tuple[PartyId, ...]


@dataclass(frozen=True, slots=True)
class Unopened:
    """To an owner: proven, nothing was computed and nothing will be (`renouncing`)."""


@dataclass(frozen=True, slots=True)
class Reseated:
    """Substitutes take the seats of members that are gone."""

    layer: int
    gone: tuple[PartyId, ...]
    seated: tuple[PartyId, ...]
