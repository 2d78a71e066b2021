"""Makers of identities, certificates, views and epochs for the overlay's tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nacl.signing import SigningKey

from mesh.overlay import certificate as certificates
from mesh.overlay import epoch_record, sortition
from mesh.overlay.announcement import PeerRtt
from mesh.overlay.certificate import Certificate, MeshIdentity, SignedCertificate
from mesh.overlay.epoch_record import EpochIntent, EpochRecord
from mesh.overlay.sortition import Standing
from mesh.overlay.view import Member, Status, View
from protocols.arithmetic.xof import derive
from protocols.identifiers import PartyId
from protocols.randomness import ecvrf
from protocols.wire import sealing
from protocols.wire.digest import digest

NOW = 1_000_000.0
OPERATOR_SEED = derive(bytes(32), "test-operator")
IDENTITY = MeshIdentity(PartyId(bytes(SigningKey(OPERATOR_SEED).verify_key)))


@dataclass(frozen=True, slots=True)
class Peer:
    """All secrets of one test peer."""

    name: str
    seed: bytes
    vrf_seed: bytes
    signed: SignedCertificate

    @property
    def party(self) -> PartyId:
        return self.signed.certificate.party

    @property
    def certificate(self) -> Certificate:
        return self.signed.certificate


def make_peer(
    index: int,
    *,
    site: str = "ward",
    gateway: bool = True,
    weight: int = 1,
    expires_s: int = 2_000_000,
    operator_seed: bytes = OPERATOR_SEED,
    serial: int | None = None,
) -> Peer:
    label = index.to_bytes(4, "big")
    seed, vrf_seed = derive(bytes(32), "identity", label), derive(bytes(32), "vrf", label)
    operator = PartyId(bytes(SigningKey(operator_seed).verify_key))
    certificate = Certificate(
        mesh=MeshIdentity(operator).mesh,
        party=PartyId(bytes(SigningKey(seed).verify_key)),
        name=f"p{index}",
        site=site,
        sealing_key=sealing.keypair(derive(bytes(32), "sealing", label))[1],
        vrf_key=ecvrf.keypair(vrf_seed)[1],
        gateway=gateway,
        weight=weight,
        serial=index if serial is None else serial,
        issued_s=int(NOW) - 100,
        expires_s=expires_s,
    )
    return Peer(f"p{index}", seed, vrf_seed, certificates.issue(operator_seed, certificate))


PEERS = [make_peer(index) for index in range(9)]


def peer_of(party: PartyId) -> Peer:
    """Which of the nine it is."""
    return next(peer for peer in PEERS if peer.party == party)


def make_view(
    peers: Sequence[Peer],
    me: Peer,
    *,
    dead: Sequence[Peer] = (),
    unlinked: Sequence[Peer] = (),
    rtts_ms: Mapping[tuple[PartyId, PartyId], int] | None = None,
    now: float = NOW,
) -> View:
    members = []
    for peer in peers:
        alive = peer not in dead
        rtts = tuple(PeerRtt(b, ms) for (a, b), ms in (rtts_ms or {}).items() if a == peer.party)
        members.append(
            Member(
                party=peer.party,
                certificate=peer.certificate,
                status=Status.ALIVE if alive else Status.SUSPECT,
                linked=peer is me or (alive and peer not in unlinked),
                rtt_s=0.001,
                since_s=now - 1000,
                incarnation=1,
                addresses=(),
                rtts=rtts,
            )
        )
    return View(IDENTITY.mesh, me.party, now, tuple(sorted(members, key=lambda member: member.party)))


def make_record(peers: Sequence[Peer], epoch: int = 1, beacon: bytes = b"beacon") -> EpochRecord:
    gateways = tuple(sorted(peer.party for peer in peers if peer.certificate.gateway))
    intent = EpochIntent(IDENTITY.mesh, epoch, digest("previous", beacon), gateways, int(NOW))
    return EpochRecord(intent, digest("test-beacon", beacon), epoch_record.NO_SESSION)


def make_standings(record: EpochRecord, peers: Sequence[Peer]) -> dict[PartyId, Standing]:
    return {
        peer.party: sortition.check_claim(
            record, peer.certificate, sortition.claim(record, peer.party, peer.vrf_seed).proof
        )
        for peer in peers
        if peer.party in record.gateways
    }
