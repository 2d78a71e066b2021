"""Who this node is: its keys, its mesh, its certificate; and founding a mesh of one.

A folder that has neither founded nor joined a mesh founds one when it first needs it: its operator key is
then the mesh, it admits others by tickets, and it certifies itself. A folder with a pending ticket has the
mesh of the ticket, but no certificate yet.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

from mesh.overlay import certificate as certificates
from mesh.overlay import ticket as tickets
from mesh.overlay.certificate import Certificate, MeshIdentity, SignedCertificate
from mesh.overlay.joining import Applicant
from mesh.overlay.ticket import Ticket
from mesh.runtime import keystore
from mesh.runtime.home import Home, MeshRecord
from mesh.runtime.keystore import Keys, Secret
from mesh.settings import Config
from protocols.errors import ConfigError
from protocols.identifiers import PartyId
from protocols.randomness import ecvrf
from protocols.sessions.keys import PartyKeys
from protocols.wire import codec
from protocols.wire.envelope import party_of


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Keys, mesh and certificate of this node; `ticket` while it has yet to join."""

    keys: Keys
    party_keys: PartyKeys
    mesh: MeshIdentity
    network_key: bytes
    applicant: Applicant
    certificate: SignedCertificate | None
    ticket: Ticket | None

    @property
    def party(self) -> PartyId:
        """Our public name."""
        return self.party_keys.party

    @property
    def is_operator(self) -> bool:
        """Whether we founded the mesh and may admit others."""
        return self.keys.operator is not None

    def __repr__(self) -> str:
        return f"NodeIdentity({self.party.short()})"


def load(home: Home, config: Config, keys: Keys) -> NodeIdentity:
    """Identity from the state folder; founds a mesh if the folder belongs to none and no join is pending.

    Raises ConfigError for damaged files, ProtocolError for an expired or forged ticket.
    """
    party_keys = PartyKeys.from_seeds(keys.identity.reveal(), keys.sealing.reveal())
    _, vrf_key = ecvrf.keypair(keys.vrf.reveal())
    applicant = Applicant(
        party_keys.party, config.name, config.site, party_keys.sealing_key, vrf_key, config.gateway
    )
    pending = home.pending_join()
    record = home.mesh()
    if pending is not None:
        ticket = tickets.verify(tickets.from_text(pending), time.time())
        return NodeIdentity(keys, party_keys, ticket.identity, ticket.network_key, applicant, None, ticket)
    if record is None:
        return _found(home, keys, party_keys, applicant)
    if keys.network is None:
        raise ConfigError(
            f"{home.keys} has no network key although {home.root} belongs to a mesh",
            code="C-114",
            fix="restore the folder from a backup, or join again with a new ticket in a new --home",
        )
    mesh = MeshIdentity(PartyId(bytes.fromhex(record.operator)))
    encoded = home.certificate()
    signed = codec.decode(SignedCertificate, encoded) if encoded is not None else None
    if signed is None:
        raise ConfigError(
            f"{home.root} has no membership certificate",
            code="C-114",
            fix="ask for a new ticket and join again with: coppice join TICKET",
        )
    return NodeIdentity(keys, party_keys, mesh, keys.network.reveal(), applicant, signed, None)


def admitted(home: Home, identity: NodeIdentity, signed: SignedCertificate) -> NodeIdentity:
    """Keep the certificate that a join granted. Raises ProtocolError, ConfigError if it is not ours."""
    certificate = certificates.verify(signed, identity.mesh, time.time())
    ours = identity.applicant
    if (certificate.party, certificate.sealing_key, certificate.vrf_key) != (
        ours.party, ours.sealing_key, ours.vrf_key,
    ):  # fmt: skip
        raise ConfigError(
            "the inviter certified other keys than ours", code="C-213", fix="ask for a new ticket"
        )
    keys = replace(identity.keys, network=Secret(identity.network_key))
    keystore.save(home, keys)
    home.save_certificate(codec.encode(signed))
    home.save_mesh(
        MeshRecord(identity.mesh.mesh.hex(), identity.mesh.operator.hex(), founder=False, members=2)
    )
    home.clear_pending_join()
    return replace(identity, keys=keys, certificate=signed, ticket=None)


def _found(home: Home, keys: Keys, party_keys: PartyKeys, applicant: Applicant) -> NodeIdentity:
    operator = Secret(os.urandom(keystore.SEED_BYTES))
    network = Secret(os.urandom(keystore.SEED_BYTES))
    keys = replace(keys, operator=operator, network=network)
    mesh = MeshIdentity(party_of(operator.reveal()))
    now = int(time.time())
    signed = certificates.issue(
        operator.reveal(),
        Certificate(
            mesh.mesh, applicant.party, applicant.name, applicant.site, applicant.sealing_key,
            applicant.vrf_key, applicant.gateway, 1, 0, now, now + certificates.DEFAULT_VALID_S,
        ),
    )  # fmt: skip
    keystore.save(home, keys)
    home.save_certificate(codec.encode(signed))
    home.save_mesh(MeshRecord(mesh.mesh.hex(), mesh.operator.hex(), founder=True, members=1))
    return NodeIdentity(keys, party_keys, mesh, network.reveal(), applicant, signed, None)
