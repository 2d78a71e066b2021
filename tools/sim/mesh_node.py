"""One member of a simulated mesh: its keys, its two overlay machines, its journal and its clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from nacl.signing import SigningKey

from mesh.overlay.certificate import MeshIdentity, SignedCertificate
from mesh.overlay.epoch_record import Certified, EpochRecord
from mesh.overlay.epochs import EpochKeeper
from mesh.overlay.joining import Applicant
from mesh.overlay.membership import Membership
from mesh.overlay.profile import EpochProfile, MembershipProfile
from protocols.identifiers import PartyId
from protocols.randomness import ecvrf
from protocols.sessions.keys import PartyKeys
from protocols.wire import sealing

START_S: Final = 1_000_000.0
"""Unix seconds at which simulated meshes are founded."""
MEMBERSHIP: Final = MembershipProfile(suspicion_s=5.0, refresh_s=30.0, sync_s=2.0, push_s=0.05, refute_s=1.0)
SETTLE_S: Final = 1.0
ROUND_S: Final = 4.0


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a device makes before it joins."""

    party: PartyId
    identity: bytes = field(repr=False)
    vrf: bytes = field(repr=False)
    sealing_key: bytes = field(repr=False)
    vrf_key: bytes = field(repr=False)

    def applicant(self, index: int, gateway: bool) -> Applicant:
        """How it introduces itself."""
        return Applicant(self.party, f"p{index}", "ward", self.sealing_key, self.vrf_key, gateway)


@lru_cache(maxsize=64)
def secrets_of(index: int) -> Secrets:
    """Keys of member `index`, the same for every seed."""
    identity = f"member {index}".encode().ljust(32, b".")
    vrf = f"claims {index}".encode().ljust(32, b".")
    sealing_key = sealing.keypair(_sealing_seed(index))[1]
    party = PartyId(bytes(SigningKey(identity).verify_key))
    return Secrets(party, identity, vrf, sealing_key, ecvrf.keypair(vrf)[1])


@lru_cache(maxsize=64)
def party_keys(index: int) -> PartyKeys:
    """Member `index` as a party of sessions."""
    return PartyKeys.from_seeds(secrets_of(index).identity, _sealing_seed(index))


def _sealing_seed(index: int) -> bytes:
    return f"sealing {index}".encode().ljust(32, b".")


OPERATOR: Final = b"operator".ljust(32, b".")
IDENTITY: Final = MeshIdentity(PartyId(bytes(SigningKey(OPERATOR).verify_key)))


class Node:
    """A member from its admission on; `up` says whether it runs now."""

    def __init__(self, index: int, certificate: SignedCertificate, head: EpochRecord | Certified) -> None:
        self.index = index
        self.certificate = certificate
        self.first_head = head
        self.secrets = secrets_of(index)
        self.party = self.secrets.party
        self.up = False
        self.lives = 0
        self.clock_s = 0.0
        self.journal: list[object] = []
        self.safe = 0
        self.membership: Membership
        self.keeper: EpochKeeper

    def boot(self, seed: bytes, epoch_s: float) -> None:
        """Make the machines anew and replay the journal."""
        self.lives += 1
        self.up = True
        own = self.lives.to_bytes(2, "big") + seed + bytes(32)
        self.membership = Membership(
            IDENTITY,
            self.certificate,
            self.secrets.identity,
            b"g" + own[:31],
            addresses=(f"/ip4/10.0.0.{self.index}/tcp/4001",),
            profile=MEMBERSHIP,
        )
        gateway = self.certificate.certificate.gateway
        self.keeper = EpochKeeper(
            IDENTITY,
            self.party,
            self.secrets.identity,
            self.first_head,
            b"e" + own[:31],
            vrf_seed=self.secrets.vrf if gateway else None,
            operator_seed=OPERATOR if self.index == 0 else None,
            profile=EpochProfile(epoch_s=epoch_s, settle_s=SETTLE_S, round_s=ROUND_S, sync_s=2.0),
        )
        for record in self.journal:
            self.keeper.restore(record)  # type: ignore[arg-type]  # only these two kinds are stored

    def local(self, now: float) -> float:
        """Unix seconds on its clock."""
        return START_S + now + self.clock_s

    @property
    def deadline(self) -> float:
        """When it wants to look again, in world time."""
        return min(self.membership.deadline, self.keeper.deadline) - START_S - self.clock_s
