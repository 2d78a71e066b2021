"""What a party stores before it speaks, so that after a restart it cannot contradict itself.

`Begun`, `Heard` and `Expired` are the machine's inputs, from which it is rebuilt; a `Snapshot` is its state,
and stands for all that was stored before it (see `durable`). The others are what binds it: the rebuilt
machine must come to the very same ones, or the session is not gone on with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from protocols.identifiers import Digest, PartyId
from protocols.sessions.excerpt import KnownPlan
from protocols.sessions.messages import Generation, StageIndex
from protocols.sessions.plan import MAX_LENGTH
from protocols.wire import codec
from protocols.wire.bounds import AtMost, Exactly, FieldVector

MAX_INPUT_BYTES = 1 << 26
"""Of one message; the transport's bounds are tighter."""


@dataclass(frozen=True, slots=True)
class VoteCast:
    """We signed this subject (roster, handover or result) for this slot, and no other."""

    KIND: ClassVar[str] = "vote-cast"
    stage: StageIndex
    generation: Generation
    label: Annotated[str, AtMost(32)]
    subject: Digest


@dataclass(frozen=True, slots=True)
class ShareReleased:
    """Our share of the total leaves this device, for this roster only."""

    KIND: ClassVar[str] = "share-released"
    stage: StageIndex
    generation: Generation
    roster: Digest


@dataclass(frozen=True, slots=True)
class Dealt:
    """Our contribution leaves this device, sealed; what the owner's ledger counts as a use."""

    KIND: ClassVar[str] = "dealt"
    stage: StageIndex


@dataclass(frozen=True, slots=True)
class Closed:
    """We promised not to vote or open any more."""

    KIND: ClassVar[str] = "closed"
    code: Annotated[str, AtMost(8)]
    reason: Annotated[str, AtMost(512)]


@dataclass(frozen=True, slots=True)
class Begun:
    """All that the machine was made from, and when. Secret: the seed, and the vector that is contributed."""

    KIND: ClassVar[str] = "begun"
    plan: KnownPlan
    seed: Annotated[bytes, Exactly(32)]
    contribution: Annotated[FieldVector, AtMost(MAX_LENGTH)] | None
    refusal: Annotated[str, AtMost(2048)]
    masked: Digest
    at: float

    def __repr__(self) -> str:
        return "Begun(redacted)"


@dataclass(frozen=True, slots=True)
class Heard:
    """A message the machine took, or refused: `name` is its class, `body` its encoding."""

    KIND: ClassVar[str] = "heard"
    at: float
    sender: PartyId
    name: Annotated[str, AtMost(64)]
    body: Annotated[bytes, AtMost(MAX_INPUT_BYTES)]


@dataclass(frozen=True, slots=True)
class Expired:
    """A deadline passed."""

    KIND: ClassVar[str] = "expired"
    at: float


@dataclass(frozen=True, slots=True)
class Outgrown:
    """More was heard than is kept: after a restart this party abstains from the session."""

    KIND: ClassVar[str] = "outgrown"


@dataclass(frozen=True, slots=True)
class HandedOver:
    """A committee took over the sum of which we held a share, and our state is too large for a `Snapshot`:
    what was stored so far is to be unreadable from now on. After a restart this party abstains from the
    session; `plan` is to learn with how it ended."""

    KIND: ClassVar[str] = "handed-over"
    plan: KnownPlan


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole state of the machine: what was stored before it is needed no more. Secret.

    `known`: the plan, encoded; `began`, `latest`: the times of its first input and of its last; `form`,
    `body`: see `snapshot`. `erases`: a share moved on, so what was stored before is to be unreadable.
    """

    KIND: ClassVar[str] = "snapshot"
    known: Annotated[bytes, AtMost(MAX_INPUT_BYTES)]
    began: float
    latest: float
    form: Digest
    body: Annotated[bytes, AtMost(MAX_INPUT_BYTES)]
    erases: bool

    @property
    def plan(self) -> KnownPlan:
        """What the state is of; and to learn with how the session ended if it cannot be gone on with."""
        return codec.decode(KnownPlan, self.known)

    def __repr__(self) -> str:
        return "Snapshot(redacted)"


INPUTS: tuple[type, ...] = (Begun, Heard, Expired, Outgrown, HandedOver, Snapshot)
BINDING: tuple[type, ...] = (VoteCast, ShareReleased, Dealt, Closed)
RECORDS: tuple[type, ...] = (*INPUTS, *BINDING)
