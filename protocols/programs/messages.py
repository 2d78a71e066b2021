"""Every message of a program session, with its bounds. They travel in envelopes bound to the session.

What somebody other than the receiver must be able to check later (a dealing, a ballot) is signed by
itself. Layer vectors are words as the engine makes them, cut into parts of at most PART_WORDS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt

from protocols.identifiers import Digest, PartyId
from protocols.programs.plan import MAX_GENERATIONS, MAX_OWNERS, MAX_SEATS, ProgramPlan
from protocols.sessions.messages import Ballot
from protocols.sessions.plan import Seat
from protocols.sharing.prss import MOST_SETS
from protocols.wire.bounds import AtMost, Between, Signature

PART_WORDS = 1 << 17
"""Words of one layer message: 1 MiB."""
PIECE_BYTES = 2 << 20
"""Plaintext bytes of one sealing; a frame takes 4 MiB."""
MAX_PIECES = 64
MAX_ATTEMPTS = 64
MAX_LAYERS = 1 << 20
NOTHING = Digest(bytes(32))
"""Stands where no dealing counts."""

Words = npt.NDArray[np.uint64]
Generation = Annotated[int, Between(0, MAX_GENERATIONS - 1)]
AttemptNumber = Annotated[int, Between(0, MAX_ATTEMPTS)]
LayerNumber = Annotated[int, Between(0, MAX_LAYERS)]
Points = Annotated[tuple[Annotated[int, Between(1, MAX_SEATS)], ...], AtMost(MAX_SEATS)]
Reason = Annotated[str, AtMost(512)]
Sealed = Annotated[bytes, AtMost(PIECE_BYTES + 256)]
Digests = Annotated[tuple[Digest, ...], AtMost(MAX_SEATS)]


@dataclass(frozen=True, slots=True)
class ProgramOffer:
    """Initiator to all: take part in this."""

    KIND: ClassVar[str] = "program-offer"
    plan: ProgramPlan


@dataclass(frozen=True, slots=True)
class ProgramDecline:
    """A party that takes no part at all (`whole`), or an owner that deals nothing."""

    KIND: ClassVar[str] = "program-decline"
    reason: Reason
    whole: bool


@dataclass(frozen=True, slots=True)
class KeyDealing:
    """Public half of a member's key contributions: a commitment for each set it is in, ascending."""

    dealer: PartyId
    generation: Generation
    sealed: Digests
    commitments: Annotated[tuple[Digest, ...], AtMost(MOST_SETS)]
    signature: Signature


@dataclass(frozen=True, slots=True)
class KeyPart:
    """Member to member: the keys of the sets both are in, sealed."""

    KIND: ClassVar[str] = "program-keys"
    dealing: KeyDealing
    sealed: Sealed


@dataclass(frozen=True, slots=True)
class InputDealing:
    """Public half of an owner's input. `rows` values of each column; `sealed` by piece, then seat.

    `response`: coefficients of the checking polynomials, (2 residues, 2 repetitions, t+1) flat.
    """

    dealer: PartyId
    rows: Annotated[int, Between(0, 1 << 26)]
    sealed: Annotated[tuple[Digest, ...], AtMost(MAX_PIECES * MAX_SEATS)]
    response: Annotated[Words, AtMost(4 * 5)]
    signature: Signature


@dataclass(frozen=True, slots=True)
class InputPart:
    """Owner to member: one piece of its share."""

    KIND: ClassVar[str] = "program-input"
    dealing: InputDealing
    piece: Annotated[int, Between(0, MAX_PIECES - 1)]
    sealed: Sealed


@dataclass(frozen=True, slots=True)
class BadDealing:
    """Member to initiator: this piece of that owner's dealing is bad, and here is what opens it to all."""

    KIND: ClassVar[str] = "program-complaint"
    part: InputPart
    generation: Generation
    shared_point: Annotated[bytes, AtMost(32)]
    challenge: Annotated[bytes, AtMost(32)]
    response: Annotated[bytes, AtMost(32)]


@dataclass(frozen=True, slots=True)
class Entry:
    """One owner's dealing that counts, and how many rows it holds."""

    dealer: PartyId
    dealing: Digest
    rows: Annotated[int, Between(0, 1 << 26)]


Entries = Annotated[tuple[Entry, ...], AtMost(MAX_OWNERS)]


@dataclass(frozen=True, slots=True)
class Holding:
    """Member to initiator: dealings it holds and found good; keys by point, NOTHING where there are none."""

    KIND: ClassVar[str] = "program-holding"
    generation: Generation
    keys: Digests
    inputs: Entries


@dataclass(frozen=True, slots=True)
class Mark:
    """A state that several members hold alike: what attempt computed it, and before which layer it stands.

    `run`: the label of that attempt's streams, so of its quorum, its start and the mark before. Two attempts
    of one number, which a lying asker had different members take, leave two marks: shares of one and the
    other do not fit together, and what is opened of such a mixture is outside of its mask's range.
    """

    attempt: AttemptNumber
    layer: LayerNumber
    run: Digest = NOTHING


FIRST = Mark(0, 0)
"""The inputs themselves."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Initiator to members: this quorum goes on from `mark`. Part of a start, or by itself later.

    `fresh` members of the quorum do not hold the mark; the `helpers` hand it to them.
    """

    KIND: ClassVar[str] = "program-attempt"
    generation: Generation
    number: AttemptNumber
    mark: Mark
    quorum: Points
    helpers: Points = ()
    fresh: Points = ()


@dataclass(frozen=True, slots=True)
class Start:
    """What a generation of the committee computes with, and the attempt that it begins with."""

    generation: Generation
    seats: Annotated[tuple[Seat, ...], AtMost(MAX_SEATS)]
    keys: Digests
    inputs: Entries
    graph: Digest
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class StartProposal:
    """Initiator to members."""

    KIND: ClassVar[str] = "program-proposal"
    start: Start


@dataclass(frozen=True, slots=True)
class StartVote:
    """Member to initiator: its one ballot of this generation."""

    KIND: ClassVar[str] = "program-vote"
    generation: Generation
    subject: Digest
    ballot: Ballot


@dataclass(frozen=True, slots=True)
class StartCertificate:
    """Initiator to everybody: a quorum's ballots for a start."""

    KIND: ClassVar[str] = "program-start"
    start: Start
    ballots: Annotated[tuple[Ballot, ...], AtMost(MAX_SEATS)]


@dataclass(frozen=True, slots=True)
class Reseat:
    """Initiator to the members of the next generation: these hold the seats now, deal keys."""

    KIND: ClassVar[str] = "program-reseat"
    generation: Generation
    seats: Annotated[tuple[Seat, ...], AtMost(MAX_SEATS)]
    first: StartCertificate


@dataclass(frozen=True, slots=True)
class RecoveryPart:
    """Helper to a fresh member: its masked summand of the registers at that member's point, one piece."""

    KIND: ClassVar[str] = "program-recovery"
    attempt: AttemptNumber
    piece: Annotated[int, Between(0, MAX_PIECES - 1)]
    pieces: Annotated[int, Between(1, MAX_PIECES)]
    sealed: Sealed


@dataclass(frozen=True, slots=True)
class Layer:
    """Member to members: part of its vector of a layer."""

    KIND: ClassVar[str] = "program-layer"
    attempt: AttemptNumber
    layer: LayerNumber
    part: Annotated[int, Between(0, 1 << 16)]
    words: Annotated[Words, AtMost(PART_WORDS)]


@dataclass(frozen=True, slots=True)
class Recount:
    """Initiator to members: stop this attempt and say how far you are."""

    KIND: ClassVar[str] = "program-recount"
    attempt: AttemptNumber


@dataclass(frozen=True, slots=True)
class Standing:
    """Member to initiator: how far it is, which marks it holds, whose vectors it misses, whom it suspects."""

    KIND: ClassVar[str] = "program-standing"
    generation: Generation
    attempt: AttemptNumber
    layer: LayerNumber
    marks: Annotated[tuple[Mark, ...], AtMost(8)]
    missing: Points
    finished: bool


@dataclass(frozen=True, slots=True)
class OutputShare:
    """Member to recipient: its share of what that recipient may learn, one piece, sealed."""

    KIND: ClassVar[str] = "program-output"
    generation: Generation
    attempt: AttemptNumber
    piece: Annotated[int, Between(0, MAX_PIECES - 1)]
    pieces: Annotated[int, Between(1, MAX_PIECES)]
    sealed: Sealed


@dataclass(frozen=True, slots=True)
class Failed:
    """Member to initiator: the program cannot go on here, and why (limits, a graph that does not fit)."""

    KIND: ClassVar[str] = "program-failed"
    code: Annotated[str, AtMost(8)]
    reason: Reason


@dataclass(frozen=True, slots=True)
class Renounced:
    """Member to owners: its vote of the first generation is for no start at all. See `renouncing`."""

    KIND: ClassVar[str] = "program-renounced"
    ballot: Ballot


@dataclass(frozen=True, slots=True)
class ProgramDone:
    """Recipient to initiator, initiator to all: the outputs are known. `opened` False: given up."""

    KIND: ClassVar[str] = "program-done"
    opened: bool
    code: Annotated[str, AtMost(8)]
    reason: Reason


SESSION_MESSAGES: tuple[type, ...] = (
    ProgramDecline, KeyPart, InputPart, BadDealing, Holding, StartProposal, StartVote, StartCertificate,
    Reseat, RecoveryPart, Attempt, Layer, Recount, Standing, OutputShare, Failed, Renounced,
    ProgramDone,
)  # fmt: skip
"""All that a program session accepts from the network."""
NETWORK_MESSAGES: tuple[type, ...] = (ProgramOffer, *SESSION_MESSAGES)
