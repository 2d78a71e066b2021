"""What a party of a program session stores before it speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from protocols.identifiers import Digest
from protocols.programs.messages import AttemptNumber, Generation
from protocols.programs.plan import ProgramPlan
from protocols.wire.bounds import AtMost, Key


@dataclass(frozen=True, slots=True)
class ProgramBegun:
    """We may sit in this session's committee; `seed` makes all that is ours in it. Secret."""

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


RECORDS: tuple[type, ...] = (ProgramBegun, AttemptTaken, StartVoted, InputDealt, OutputReleased)
