"""What a party of a program session stores before it speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from protocols.identifiers import Digest
from protocols.programs.messages import AttemptNumber, Generation


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


RECORDS: tuple[type, ...] = (StartVoted, InputDealt, OutputReleased)
