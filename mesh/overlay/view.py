"""A frozen picture of the mesh as one node sees it: the input of clustering, sortition and planning.

Everything computed from a view is a pure function of it, so two nodes with equal views agree. Views of
honest nodes differ in liveness only, and only for a while: identities, keys and sites are certified.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from mesh.overlay.announcement import PeerRtt
from mesh.overlay.certificate import Certificate
from protocols.identifiers import Digest, PartyId


class Status(Enum):
    """Doubt about liveness, never about honesty."""

    ALIVE = "alive"
    SUSPECT = "suspect"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Member:
    """One member as seen from here. `linked`: a direct link works; `since_s`: when status or link changed."""

    party: PartyId
    certificate: Certificate
    status: Status
    linked: bool
    rtt_s: float | None
    since_s: float
    incarnation: int
    addresses: tuple[str, ...]
    rtts: tuple[PeerRtt, ...]

    @property
    def alive(self) -> bool:
        """Whether it can be given work."""
        return self.status is Status.ALIVE


@dataclass(frozen=True, slots=True)
class MemberChanged:
    """Published when a member appears (before is None), changes status, or its link comes or goes."""

    party: PartyId
    name: str
    before: Status | None
    after: Status
    linked: bool
    why: str


@dataclass(frozen=True)
class View:
    """All known members, sorted by party, each certified and unexpired at `now`."""

    mesh: Digest
    me: PartyId
    now: float
    members: tuple[Member, ...]

    @cached_property
    def by_party(self) -> dict[PartyId, Member]:
        """Members by id."""
        return {member.party: member for member in self.members}

    @cached_property
    def alive(self) -> tuple[Member, ...]:
        """Members that can be given work."""
        return tuple(member for member in self.members if member.alive)

    @cached_property
    def alive_gateways(self) -> tuple[PartyId, ...]:
        """Those of them that may sit on committees, sorted."""
        return tuple(member.party for member in self.alive if member.certificate.gateway)

    def is_alive(self, party: PartyId) -> bool:
        """Known, certified and alive."""
        member = self.by_party.get(party)
        return member is not None and member.alive

    def is_linked(self, party: PartyId) -> bool:
        """Alive and in direct contact with us (or us): nobody can tell us that it is gone."""
        member = self.by_party.get(party)
        return member is not None and member.alive and member.linked

    def name(self, party: PartyId) -> str:
        """For people: certified name, or the short id of a stranger."""
        member = self.by_party.get(party)
        return member.certificate.name if member else party.short()

    @cached_property
    def rtts_ms(self) -> dict[tuple[PartyId, PartyId], int]:
        """Announced round trips by (smaller id, larger id); the smaller of the two sides' figures."""
        measured: dict[tuple[PartyId, PartyId], int] = {}
        for member in self.members:
            for rtt in member.rtts:
                pair = (member.party, rtt.peer) if member.party < rtt.peer else (rtt.peer, member.party)
                measured[pair] = min(rtt.rtt_ms, measured.get(pair, rtt.rtt_ms))
        return measured

    def rtt_ms(self, first: PartyId, second: PartyId) -> int | None:
        """Announced round trip between two members, or None if neither measured it."""
        return self.rtts_ms.get((first, second) if first < second else (second, first))
