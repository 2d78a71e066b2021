"""Messages about masked vectors and their sums, which all go by name; the bytes travel beside the session.

See `bulk` for how sums move and `audit` for how they are checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from protocols.identifiers import Digest, PartyId
from protocols.sessions.plan import MAX_DEALERS, MAX_STAGES
from protocols.wire.bounds import AtMost, Between, Exactly, Signature

FINGERPRINT_BYTES = 512
StageIndex = Annotated[int, Between(0, MAX_STAGES)]
FingerprintWords = Annotated[bytes, Exactly(FINGERPRINT_BYTES)]
"""64 little-endian words, see `masking.fingerprint`."""


@dataclass(frozen=True, slots=True)
class ClusterVector:
    """Adder to the adder above: the masked sum of our certified roster has this name, and is on its way."""

    KIND: ClassVar[str] = "cluster-vector"
    child: StageIndex
    name: Digest


@dataclass(frozen=True, slots=True)
class TotalVector:
    """Adder to those who take the result: the masked total has this name, and is on its way."""

    KIND: ClassVar[str] = "total-vector"
    name: Digest


@dataclass(frozen=True, slots=True)
class SumClaim:
    """Adder to the initiator, and in an audit to all: signed, this is the sum of that certified roster."""

    KIND: ClassVar[str] = "sum-claim"
    stage: StageIndex
    roster: Digest
    name: Digest
    adder: PartyId
    signature: Signature


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """Initiator to contributors: say the fingerprint of your vector for this claim."""

    KIND: ClassVar[str] = "audit-request"
    claim: SumClaim


@dataclass(frozen=True, slots=True)
class AuditTag:
    """Contributor to the initiator: signed, the fingerprint of the vector that my dealing names."""

    KIND: ClassVar[str] = "audit-tag"
    dealer: PartyId
    challenge: Digest
    vector: Digest
    words: FingerprintWords
    signature: Signature


@dataclass(frozen=True, slots=True)
class AuditOpen:
    """Initiator to the adder: show the vectors of those who are gone, or which of these tags lie."""

    KIND: ClassVar[str] = "audit-open"
    stage: StageIndex
    challenge: Digest
    missing: Annotated[tuple[PartyId, ...], AtMost(MAX_DEALERS)]
    disputed: Annotated[tuple[AuditTag, ...], AtMost(MAX_DEALERS)]


@dataclass(frozen=True, slots=True)
class AuditPassed:
    """Initiator to devices: the sum of this name was audited, and counts."""

    KIND: ClassVar[str] = "audit-passed"
    name: Digest


@dataclass(frozen=True, slots=True)
class AdderReplaced:
    """Initiator to the parties of a stage: this adder's sum is false, the next one adds."""

    KIND: ClassVar[str] = "adder-replaced"
    stage: StageIndex
    adder: PartyId


@dataclass(frozen=True, slots=True)
class VectorStored:
    """LOCAL: the vector `name` has arrived whole, or was made here."""

    name: Digest


@dataclass(frozen=True, slots=True)
class VectorsAdded:
    """LOCAL: what a Combine effect of `stage` came to."""

    stage: StageIndex
    name: Digest


@dataclass(frozen=True, slots=True)
class Fingerprinted:
    """LOCAL: what a Fingerprint effect came to."""

    challenge: Digest
    name: Digest
    words: FingerprintWords


BULK_NETWORK: tuple[type, ...] = (
    ClusterVector, TotalVector, SumClaim, AuditRequest, AuditTag, AuditOpen, AuditPassed, AdderReplaced,
)  # fmt: skip
BULK_LOCAL: tuple[type, ...] = (VectorStored, VectorsAdded, Fingerprinted)
