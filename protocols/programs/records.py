"""What a party of a program session stores before it speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from protocols.identifiers import Digest
from protocols.programs.messages import Attempt, AttemptNumber, Generation, StartCertificate
from protocols.programs.plan import MAX_SEATS, ProgramPlan
from protocols.sessions.plan import Seat
from protocols.wire.bounds import AtMost, Key


@dataclass(frozen=True, slots=True)
class ProgramBegun:
    """We ask in this session, or may sit in its committee; `seed` makes all that is ours in it. Secret."""

    KIND: ClassVar[str] = "program-begun"
    plan: ProgramPlan
    seed: Key
    graph: Annotated[bytes, AtMost(1 << 26)]

    def __repr__(self) -> str:
        return f"ProgramBegun({self.plan.session.short()}, …)"


@dataclass(frozen=True, slots=True)
class AttemptTaken:
    """We compute in this attempt, and never in one of this number again."""

    KIND: ClassVar[str] = "program-attempt-taken"
    generation: Generation
    number: AttemptNumber


@dataclass(frozen=True, slots=True)
class StartVoted:
    """We signed this start for this generation, and no other."""

    KIND: ClassVar[str] = "program-voted"
    generation: Generation
    subject: Digest


@dataclass(frozen=True, slots=True)
class InputDealt:
    """Our values leave this device, sealed; what the owner's ledger counts as a use."""

    KIND: ClassVar[str] = "program-dealt"
    dealing: Digest


@dataclass(frozen=True, slots=True)
class OutputReleased:
    """Our shares of the outputs leave this device, of this attempt only."""

    KIND: ClassVar[str] = "program-released"
    generation: Generation
    attempt: AttemptNumber


@dataclass(frozen=True, slots=True)
class Coordinated:
    """The asker's place in its session: the newest certificate, attempt and seats that members hear of."""

    KIND: ClassVar[str] = "program-coordinated"
    generation: Generation
    seats: Annotated[tuple[Seat, ...], AtMost(MAX_SEATS)]
    attempts: AttemptNumber
    first: StartCertificate
    certificate: StartCertificate
    attempt: Attempt
    reseating: bool

    def __repr__(self) -> str:
        return f"Coordinated({self.generation}, {self.attempts}, …)"


RECORDS: tuple[type, ...] = (ProgramBegun, AttemptTaken, StartVoted, InputDealt, OutputReleased, Coordinated)
