"""What a member says about itself, signed by itself: I am here (or leaving), reachable there.

Source: the incarnation rule of SWIM (Das, Gupta, Motivala 2002, section 4.2): only the member itself
raises its incarnation, a higher one replaces every lower one, and so a member can always refute a
rumour about it. Starting at Unix seconds makes incarnations grow over restarts without a store.

Invariant: announcements of one party are totally ordered by incarnation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from mesh.overlay import certificate as certificates
from mesh.overlay.certificate import MeshIdentity, SignedCertificate
from mesh.overlay.ticket import Address
from protocols.errors import MalformedMessage
from protocols.identifiers import PartyId
from protocols.wire import codec
from protocols.wire.bounds import AtMost, Between, Signature
from protocols.wire.envelope import check_statement, sign_statement

MAX_RTTS = 16
MAX_ADDRESSES = 8
RTT_STEP_MS = 5
"""Round trips are announced in steps of 5 ms: enough to tell sites apart, too coarse to churn clusters."""

Incarnation = Annotated[int, Between(0, 2**48)]

_STATEMENT = "presence"


@dataclass(frozen=True, slots=True)
class PeerRtt:
    """Coarse round trip from the announcing member to `peer`."""

    peer: PartyId
    rtt_ms: Annotated[int, Between(0, 60_000)]


@dataclass(frozen=True, slots=True)
class Presence:
    """The part a member signs anew each time."""

    party: PartyId
    incarnation: Incarnation
    leaving: bool
    addresses: Annotated[tuple[Address, ...], AtMost(MAX_ADDRESSES)]
    rtts: Annotated[tuple[PeerRtt, ...], AtMost(MAX_RTTS)]


@dataclass(frozen=True, slots=True)
class Announcement:
    """A member's certificate, its presence, and its signature under the presence."""

    certificate: SignedCertificate
    presence: Presence
    signature: Signature

    @property
    def party(self) -> PartyId:
        """Who announces itself."""
        return self.presence.party

    @property
    def incarnation(self) -> int:
        """The higher one wins."""
        return self.presence.incarnation


def announce(identity_seed: bytes, certificate: SignedCertificate, presence: Presence) -> Announcement:
    """Sign `presence` with the member's own 32-byte seed."""
    return Announcement(
        certificate, presence, sign_statement(identity_seed, _STATEMENT, codec.encode(presence))
    )


def verify(
    announcement: Announcement, identity: MeshIdentity, now: float, known: SignedCertificate | None = None
) -> None:
    """Check certificate and signature; a certificate equal to `known` is checked for expiry only.

    Raises MalformedMessage (bad signature, another's certificate), ProtocolError (see certificate.verify).
    """
    if announcement.certificate == known:
        certificates.check_validity(known.certificate, now)
    else:
        certificates.verify(announcement.certificate, identity, now)
    party = announcement.party
    if announcement.certificate.certificate.party != party:
        raise MalformedMessage(f"announcement of {party.short()} carries the certificate of another party")
    if not check_statement(party, _STATEMENT, codec.encode(announcement.presence), announcement.signature):
        raise MalformedMessage(f"announcement of {party.short()} is not signed by it")


def coarse(rtt_s: float) -> int:
    """Round trip in milliseconds, rounded up to the next step."""
    return min(60_000, int(-(-rtt_s * 1000 // RTT_STEP_MS)) * RTT_STEP_MS)
