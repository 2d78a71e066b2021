"""Every message of an aggregation session, with its bounds.

Messages travel in signed envelopes bound to mesh, session, epoch, stage and kind, so none carries
those again unless somebody other than the sender must be able to check it later (a dealing, a ballot).

Symbols: n seats, t threshold, L payload length, m mask pairs (see `dealing`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

from protocols.errors import MalformedMessage
from protocols.identifiers import Digest, PartyId, SessionId
from protocols.sessions.abort_messages import MAX_BALLOTS, AbortVote
from protocols.sessions.bulk_messages import BULK_LOCAL, BULK_NETWORK
from protocols.sessions.offers import OFFERS_NETWORK
from protocols.sessions.plan import MAX_CONTRIBUTORS, MAX_DEALERS, MAX_LENGTH, MAX_STAGES, Plan, Seat
from protocols.sessions.roster_tree import Entry as Entry
from protocols.sessions.roster_tree import Generation as Generation
from protocols.sessions.roster_tree import Group as Group
from protocols.sessions.roster_tree import Roster as Roster
from protocols.sessions.roster_tree import StageIndex as StageIndex
from protocols.wire.bounds import AtMost, Between, FieldVector, Key, Signature

MAX_WIDTH = MAX_LENGTH + 2 * 64 + 2
MAX_SEALED_BYTES = 8 * MAX_WIDTH + 256
MAX_PARTS = 16
NO_SOURCE = Digest(bytes(32))
"""`source` of a device's dealing: it comes from no roster."""
NO_VECTOR = Digest(bytes(32))
"""`vector` where no masked vector belongs to a dealing or a group."""

SeatIndex = Annotated[int, Between(0, 15)]
Reason = Annotated[str, AtMost(512)]


@dataclass(frozen=True)
class Dealing:
    """The public half of one dealt vector, signed by its dealer: what everybody can check.

    `sealed` holds the digest of each seat's sealed share; `response` (2 * (t+1) elements) proves that
    the shares lie on polynomials of degree t; `source` is the roster whose sum a resharing carries;
    `vector` names the masked vector whose key is dealt here (see `bulk`).
    """

    dealer: PartyId
    stage: StageIndex
    generation: Generation
    source: Digest
    vector: Digest
    sealed: Annotated[tuple[Digest, ...], AtMost(16)]
    response: Annotated[FieldVector, AtMost(12)]
    signature: Signature

    @cached_property
    def names(self) -> dict[SessionId, Digest]:
        """Its digest in a session, kept: see `dealing.dealing_digest`."""
        return {}


@dataclass(frozen=True, slots=True)
class Ballot:
    """A member's signature under a statement of its committee (roster, handover, result)."""

    seat: SeatIndex
    signature: Signature


Ballots = Annotated[tuple[Ballot, ...], AtMost(16)]


@dataclass(frozen=True)
class Certificate:
    """A roster with a quorum of ballots: there is no other for this stage and generation."""

    KIND: ClassVar[str] = "certificate"
    roster: Roster
    ballots: Ballots

    @cached_property
    def checked_by(self) -> dict[int, object]:
        """Assemblies, by identity, that it passed with: a party's roles each ask (`check_certificate`)."""
        return {}


@dataclass(frozen=True, slots=True)
class Handover:
    """Generation g of a committee gives way to g+1, in which a substitute has a leaver's seat."""

    stage: StageIndex
    generation: Generation
    seats: Annotated[tuple[Seat, ...], AtMost(16)]


@dataclass(frozen=True, slots=True)
class HandoverCertificate:
    """A handover with a quorum of ballots of the old generation, and the roster whose sum moves."""

    KIND: ClassVar[str] = "handover-certificate"
    handover: Handover
    ballots: Ballots
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class PlanOffer:
    """Initiator to all parties, or of a plan by role to who asks: this is the session."""

    KIND: ClassVar[str] = "plan"
    plan: Plan


@dataclass(frozen=True, slots=True)
class Decline:
    """A party will not do its part, and says why.

    `whole`: it takes no part in the plan at all; otherwise it only deals nothing and serves where it sits.
    """

    KIND: ClassVar[str] = "decline"
    stage: StageIndex
    reason: Reason
    whole: bool


@dataclass(frozen=True, slots=True)
class Deal:
    """Dealer to adder: the dealing, all sealed shares, and for a resharing the source's certificate."""

    KIND: ClassVar[str] = "deal"
    dealing: Dealing
    sealed: Annotated[tuple[Annotated[bytes, AtMost(MAX_SEALED_BYTES)], ...], AtMost(16)]
    certificate: Certificate | None


@dataclass(frozen=True, slots=True)
class Part:
    """Adder to one member: its share of one dealing."""

    KIND: ClassVar[str] = "part"
    dealing: Dealing
    sealed: Annotated[bytes, AtMost(MAX_SEALED_BYTES)]


@dataclass(frozen=True, slots=True)
class Parts:
    """Adder to one member: its shares of several dealings (see `parcels`)."""

    KIND: ClassVar[str] = "parts"
    parts: Annotated[tuple[Part, ...], AtMost(MAX_PARTS)]

    @property
    def dealing(self) -> Dealing:
        """The first, which tells where all belong. Raises MalformedMessage if there is none."""
        if not self.parts:
            raise MalformedMessage("a message of parts without one")
        return self.parts[0].dealing


@dataclass(frozen=True, slots=True)
class Held:
    """Member to adder: dealings whose shares it holds and found good, and the roster it voted for, if any."""

    KIND: ClassVar[str] = "held"
    stage: StageIndex
    generation: Generation
    entries: Annotated[tuple[Entry, ...], AtMost(MAX_CONTRIBUTORS)]
    voted: Roster | None
    ballot: Ballot | None


@dataclass(frozen=True, slots=True)
class Complaint:
    """A member proves that its share of a dealing is bad by opening that one sealing to everybody."""

    KIND: ClassVar[str] = "complaint"
    dealing: Dealing
    seat: SeatIndex
    sealed: Annotated[bytes, AtMost(MAX_SEALED_BYTES)]
    shared_point: Key
    challenge: Annotated[bytes, AtMost(64)]
    response: Annotated[bytes, AtMost(64)]


@dataclass(frozen=True, slots=True)
class Fetch:
    """Member to adder: send me my parts of these dealings (again)."""

    KIND: ClassVar[str] = "fetch"
    stage: StageIndex
    generation: Generation
    dealers: Annotated[tuple[PartyId, ...], AtMost(MAX_DEALERS)]


@dataclass(frozen=True, slots=True)
class Proposal:
    """Adder to members: vote for this roster. Carries the certificate of every non-device source."""

    KIND: ClassVar[str] = "proposal"
    roster: Roster
    certificates: Annotated[tuple[Certificate, ...], AtMost(MAX_STAGES)]


@dataclass(frozen=True, slots=True)
class Vote:
    """Member to adder: my ballot for the roster with this digest."""

    KIND: ClassVar[str] = "vote"
    stage: StageIndex
    generation: Generation
    roster: Digest
    ballot: Ballot


@dataclass(frozen=True, slots=True)
class CheckShares:
    """Member to members: masked random combinations of every sub-share, two for each roster entry."""

    KIND: ClassVar[str] = "check"
    stage: StageIndex
    generation: Generation
    roster: Digest
    values: Annotated[FieldVector, AtMost(2 * 16 * MAX_STAGES)]


@dataclass(frozen=True, slots=True)
class OpeningShare:
    """Root member to root members: my share of the total, released against this roster only."""

    KIND: ClassVar[str] = "opening"
    stage: StageIndex
    generation: Generation
    roster: Digest
    values: Annotated[FieldVector, AtMost(MAX_LENGTH)]


@dataclass(frozen=True, slots=True)
class ResultVote:
    """Root member to root members and adders: the total I opened has this digest, signed."""

    KIND: ClassVar[str] = "result-vote"
    stage: StageIndex
    generation: Generation
    result: Digest
    ballot: Ballot


@dataclass(frozen=True, slots=True)
class Result:
    """The opened total with its roster and t+1 ballots; checked by every device before use.

    `interim` and then `handovers` lead to the generation of the root that opened.
    `below`: of a plan by role, the rosters from under this one down to who gets it, in part (see `counting`).
    """

    KIND: ClassVar[str] = "result"
    certificate: Certificate
    total: Annotated[FieldVector, AtMost(MAX_LENGTH)]
    ballots: Ballots
    handovers: Annotated[tuple[HandoverCertificate, ...], AtMost(8)]
    interim: Annotated[tuple[Certificate, ...], AtMost(8)] = ()
    below: Annotated[tuple[Roster, ...], AtMost(64)] = ()


@dataclass(frozen=True, slots=True)
class AbortProof:
    """Abort ballots that exclude that anything was or will be opened; convinces everybody.

    `interim` and then `handovers` lead to the generation of the root that is judged.
    """

    KIND: ClassVar[str] = "abort-proof"
    votes: Annotated[tuple[AbortVote, ...], AtMost(MAX_BALLOTS)]
    interim: Annotated[tuple[Certificate, ...], AtMost(8)] = ()
    handovers: Annotated[tuple[HandoverCertificate, ...], AtMost(8)] = ()


@dataclass(frozen=True, slots=True)
class HandoverProposal:
    """Adder to members: let the next substitute take the leaver's seat."""

    KIND: ClassVar[str] = "handover"
    handover: Handover


@dataclass(frozen=True, slots=True)
class HandoverVote:
    """Member to adder: agreed."""

    KIND: ClassVar[str] = "handover-vote"
    stage: StageIndex
    generation: Generation
    ballot: Ballot


@dataclass(frozen=True, slots=True)
class AuditOpened:
    """Adder to the initiator: the dealings of those asked about; the vectors they name are on their way."""

    KIND: ClassVar[str] = "audit-opened"
    challenge: Digest
    dealings: Annotated[tuple[Dealing, ...], AtMost(MAX_DEALERS)]


@dataclass(frozen=True, slots=True)
class Resumed:
    """A party that crashed and came back: tell me again what you told me."""

    KIND: ClassVar[str] = "resumed"


@dataclass(frozen=True, slots=True)
class PeersLost:
    """LOCAL, never decoded from the network: all parties that the membership layer does not reach now."""

    parties: Annotated[tuple[PartyId, ...], AtMost(MAX_CONTRIBUTORS)]


@dataclass(frozen=True, slots=True)
class PeerLinked:
    """LOCAL: a link to `party` is new, and nothing that was said before went over it."""

    party: PartyId


NETWORK_MESSAGES: tuple[type, ...] = (
    PlanOffer, Decline, Deal, Part, Parts, Held, Complaint, Fetch, Proposal, Vote, Certificate, CheckShares,
    OpeningShare, ResultVote, Result, AbortVote, HandoverProposal, HandoverVote, HandoverCertificate,
    Resumed, AbortProof, AuditOpened, *BULK_NETWORK, *OFFERS_NETWORK,
)  # fmt: skip
"""All that a session accepts from the network."""
BY_KIND: dict[str, type] = {message.KIND: message for message in NETWORK_MESSAGES}  # type: ignore[attr-defined]
LOCAL_MESSAGES: tuple[type, ...] = (*BULK_LOCAL, PeersLost, PeerLinked)
"""What only this device tells its machine."""
BULK_MESSAGES: tuple[type, ...] = (*BULK_NETWORK, *BULK_LOCAL, AuditOpened)
"""All about masked vectors, wherever it comes from."""
