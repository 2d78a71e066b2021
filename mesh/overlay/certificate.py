"""Who belongs to the mesh: a certificate for each member, signed by the mesh's operator key.

A mesh *is* its operator key: its digest names the mesh, its signature admits members and opens the
chain of epochs. The operator can admit whom it likes and so must be trusted for *who* takes part; it
learns nothing that members share.

Invariant: a certificate that passes `verify` was signed by the operator of exactly this mesh and binds
one party to its sealing key, its VRF key, its site and its weight at this time. `now` is Unix seconds
throughout the overlay, since certificates outlive restarts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from protocols.errors import ConfigError, ProtocolError
from protocols.identifiers import Digest, PartyId
from protocols.wire import codec
from protocols.wire.bounds import AtMost, Between, Key, Signature
from protocols.wire.digest import digest
from protocols.wire.envelope import check_statement, sign_statement

UnixSeconds = Annotated[int, Between(0, 2**40)]
Label = Annotated[str, AtMost(48)]
Weight = Annotated[int, Between(1, 16)]

MAX_LABEL_BYTES = 48
DEFAULT_VALID_S = 365 * 24 * 3600
"""A year. Shorter limits how long a stolen device can take part, and makes renewals more frequent."""

CLOCK_SKEW_S = 300
"""How far ahead the issuer's clock may be of ours before a certificate counts as not yet valid."""

_STATEMENT = "certificate"


@dataclass(frozen=True)
class MeshIdentity:
    """The operator's verification key, from which everything else about the mesh is checked."""

    operator: PartyId

    @cached_property
    def mesh(self) -> Digest:
        """The name of the mesh in envelopes and plans."""
        return digest("mesh", self.operator)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the operator vouches for. `weight` scales a gateway's chance to relay; `serial` counts up."""

    mesh: Digest
    party: PartyId
    name: Label
    site: Label
    sealing_key: Key
    vrf_key: Key
    gateway: bool
    weight: Weight
    serial: Annotated[int, Between(0, 2**48)]
    issued_s: UnixSeconds
    expires_s: UnixSeconds


@dataclass(frozen=True, slots=True)
class SignedCertificate:
    """A certificate with the operator's detached signature."""

    certificate: Certificate
    signature: Signature


def issue(operator_seed: bytes, certificate: Certificate) -> SignedCertificate:
    """Sign `certificate` with the operator's 32-byte seed. Raises ConfigError for an unprintable name."""
    check_label("name", certificate.name)
    check_label("site", certificate.site)
    return SignedCertificate(
        certificate, sign_statement(operator_seed, _STATEMENT, codec.encode(certificate))
    )


def verify(signed: SignedCertificate, identity: MeshIdentity, now: float) -> Certificate:
    """The certificate, if the operator of this mesh signed it and it is valid at `now`.

    Raises ProtocolError: C-210 another mesh, C-211 forged, C-212 expired, C-213 not yet valid.
    """
    certificate = signed.certificate
    if certificate.mesh != identity.mesh:
        raise ProtocolError(
            f"the certificate of {certificate.party.short()} is for mesh {certificate.mesh.short()}, "
            f"this is mesh {identity.mesh.short()}",
            code="C-210",
            fix="join this mesh with a ticket of its own",
        )
    if not check_statement(identity.operator, _STATEMENT, codec.encode(certificate), signed.signature):
        raise ProtocolError(
            f"the certificate of {certificate.party.short()} is forged: the operator did not sign it",
            code="C-211",
            fix="ask the operator for a new ticket and join again",
        )
    check_validity(certificate, now)
    return certificate


def check_validity(certificate: Certificate, now: float) -> None:
    """Raises ProtocolError C-212 (expired) or C-213 (not yet valid)."""
    if now >= certificate.expires_s:
        raise ProtocolError(
            f"the certificate of {certificate.name} ({certificate.party.short()}) "
            f"expired {int(now - certificate.expires_s)} s ago",
            code="C-212",
            fix="join again with a new ticket, and check this machine's clock",
        )
    if certificate.issued_s > now + CLOCK_SKEW_S:
        raise ProtocolError(
            f"the certificate of {certificate.name} ({certificate.party.short()}) "
            f"becomes valid in {int(certificate.issued_s - now)} s",
            code="C-213",
            fix="check this machine's clock",
        )


def check_label(what: str, text: str) -> None:
    """Names reach terminals and logs. Raises ConfigError C-120 for an empty, long or unprintable one."""
    if not text or text != text.strip() or not text.isprintable() or len(text.encode()) > MAX_LABEL_BYTES:
        raise ConfigError(
            f"{what} {text[:60]!r} is empty, too long or has characters that do not print",
            code="C-120",
            fix=f"choose 1 to {MAX_LABEL_BYTES} bytes of printable text without spaces at the ends",
        )
