"""What a party stores before it speaks, so that after a restart it cannot contradict itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from protocols.identifiers import Digest
from protocols.sessions.messages import Generation, StageIndex
from protocols.wire.bounds import AtMost


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


RECORDS: tuple[type, ...] = (VoteCast, ShareReleased, Dealt, Closed)
