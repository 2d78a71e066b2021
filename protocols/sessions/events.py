"""What a session tells its own device: progress for people, verdicts on parties, the outcome."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.arithmetic.field import Elements
from protocols.identifiers import Digest, PartyId
from protocols.sessions.audit import Evidence
from protocols.sessions.messages import Result


@dataclass(frozen=True, slots=True)
class Progress:
    """A stage reached a phase."""

    stage: int
    phase: str
    detail: str


@dataclass(frozen=True, slots=True)
class Named:
    """A party broke the protocol; `proven` means that evidence convinces third parties."""

    party: PartyId
    fault: str
    proven: bool


@dataclass(frozen=True, slots=True)
class Declined:
    """A party refused its part, in its own words."""

    party: PartyId
    reason: str


@dataclass(frozen=True, slots=True)
class Opened:
    """Outcome: the certified total. `transcript` is the digest of all that was agreed.

    `contributors` is empty where a plan by role has no list of them: `sites` is their number in any case.
    """

    result: Result
    total: Elements
    contributors: tuple[PartyId, ...]
    transcript: Digest

    @property
    def sites(self) -> int:
        """How many devices were counted."""
        return self.result.certificate.roster.sites


@dataclass(frozen=True, slots=True)
class Counted:
    """After the outcome of a plan by role: what we dealt is in the total, or is not, as its rosters show."""

    counted: bool


@dataclass(frozen=True, slots=True)
class MaskedTotal:
    """The masked total is in our store under `name`; the opened keys unmask it."""

    name: Digest


@dataclass(frozen=True, slots=True)
class SumRefused:
    """A masked total did not stand up to its audit. `proven`: the evidence convinces third parties."""

    evidence: Evidence
    proven: bool


@dataclass(frozen=True, slots=True)
class TotalLost:
    """The keys are open, but there is no masked total that stands up to its audit."""

    reason: str


@dataclass(frozen=True, slots=True)
class Aborted:
    """Outcome: no total. `definite`: provably nothing was or will be opened."""

    code: str
    reason: str
    definite: bool


def in_doubt(outcome: object) -> bool:
    """Whether a party's time was over before it knew whether anything was opened."""
    return isinstance(outcome, Aborted) and not outcome.definite


def is_final(outcome: object) -> bool:
    """Whether a party knows how its session ended."""
    return outcome is not None and not in_doubt(outcome)
