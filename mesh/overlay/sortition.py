"""Who serves in an epoch: committees by beacon ranking, adders by their own VRF.

Committees: candidates are ranked by H(beacon, label, party); the lowest ranks take the seats, the next
ones are substitutes. A cluster's committee ranks gateways of the cluster's own site before the others,
since their links are short. Sites are certified and candidates are listed in the epoch record, so
everybody computes the same order; views differ only in who is alive.

Adders (sub-aggregators): each gateway proves its VRF output beta on the beacon once an epoch, a Claim.
Its score for a stage is -ln(u)/w with u uniform from H(beta, label) and w its certified weight; the
lowest wins (an exponential race: a gateway wins with probability proportional to w), the others are
the next ranks. One proof an epoch serves all stages, because beta is unpredictable before the claim.

Symbols: n seats, t threshold, w weight, beta VRF output (RFC 9381).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from mesh.overlay.certificate import Certificate
from mesh.overlay.epoch_record import EpochNumber, EpochRecord
from protocols.errors import MalformedMessage, Refused
from protocols.identifiers import PartyId
from protocols.randomness import ecvrf
from protocols.sessions.plan import COMMITTEE_SIZES
from protocols.wire.bounds import Exactly
from protocols.wire.digest import digest

WANTED_COMMITTEE = 7
"""(7, 2): two liars corrected, two members may vanish. More seats cost bytes, fewer tolerate less."""

MIN_COMMITTEE = 3


@dataclass(frozen=True, slots=True)
class Claim:
    """A gateway's VRF proof for one epoch, checked against the VRF key of its certificate."""

    KIND: ClassVar[str] = "claim"
    party: PartyId
    epoch: EpochNumber
    proof: Annotated[bytes, Exactly(ecvrf.PROOF_BYTES)]


@dataclass(frozen=True, slots=True)
class Standing:
    """A verified claim."""

    proof: bytes
    beta: bytes
    weight: int


def ranked(record: EpochRecord, label: str, parties: Iterable[PartyId]) -> tuple[PartyId, ...]:
    """`parties` by beacon rank for `label`, best first."""
    name = label.encode()
    return tuple(sorted(set(parties), key=lambda party: digest("sortition", record.beacon, name, party)))


def seat_order(
    record: EpochRecord, label: str, site: str | None, certificates: Mapping[PartyId, Certificate]
) -> tuple[PartyId, ...]:
    """All certified gateways of the epoch in the order in which they take seats: own site first, by rank."""
    eligible = [party for party in record.gateways if party in certificates and certificates[party].gateway]
    order = ranked(record, label, eligible)
    own = tuple(party for party in order if certificates[party].site == site)
    return own + tuple(party for party in order if certificates[party].site != site)


def committee_size(eligible: int, wanted: int = WANTED_COMMITTEE) -> tuple[int, int]:
    """(n, t): the largest legal committee within `wanted` and `eligible`. Raises Refused below three."""
    for n, t in COMMITTEE_SIZES:
        if n <= min(wanted, eligible):
            return n, t
    count = {0: "no gateway", 1: "one gateway", 2: "two gateways"}.get(eligible, f"{eligible} gateways")
    raise Refused(
        f"{count} cannot keep a secret from each other and still compute with it: at least three are needed",
        reasons={},
        fix="invite another peer as a gateway, or wait until one is back",
    )


def claim_input(record: EpochRecord) -> bytes:
    """The VRF input alpha of an epoch."""
    return bytes(digest("claim", record.intent.mesh, record.epoch.to_bytes(8, "big"), record.beacon))


def claim(record: EpochRecord, party: PartyId, vrf_seed: bytes) -> Claim:
    """Our claim for the epoch of `record`."""
    return Claim(party, record.epoch, ecvrf.prove(vrf_seed, claim_input(record)))


def check_claim(record: EpochRecord, certificate: Certificate, proof: bytes) -> Standing:
    """The standing that `proof` earns the certificate's party. Raises MalformedMessage if it earns none."""
    party = certificate.party
    if party not in record.gateways or not certificate.gateway:
        raise MalformedMessage(
            f"{party.short()} claims to add in epoch {record.epoch} but is no gateway in it"
        )
    beta = ecvrf.verify(certificate.vrf_key, claim_input(record), proof)
    return Standing(proof, beta, certificate.weight)


def score(standing: Standing, label: str) -> float:
    """-ln(u)/w for the stage `label`; lower is better."""
    word = int.from_bytes(digest("score", standing.beta, label.encode())[:7], "big") >> 3
    return -math.log((word + 0.5) / 2**53) / standing.weight


def adder_order(
    standings: Mapping[PartyId, Standing], label: str, own: Iterable[PartyId] = ()
) -> tuple[PartyId, ...]:
    """All claimants best first, members of the cluster (`own`) before the others."""
    near = set(own)
    return tuple(
        sorted(standings, key=lambda party: (party not in near, score(standings[party], label), party))
    )
