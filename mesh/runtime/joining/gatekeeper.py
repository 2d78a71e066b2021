"""Who may talk to this node: members by their certificate, joiners as guests while tickets are open.

The transport has proved the peer's key when `admit` is asked; the hello must be that key's certificate.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from mesh.net.transport import Admission, Verdict
from mesh.overlay import certificate as certificates
from mesh.overlay.certificate import MeshIdentity, SignedCertificate
from protocols.errors import MeshError
from protocols.identifiers import PartyId
from protocols.wire import codec


class Gatekeeper:
    """Gate of the transport. `certificate` is None while we have yet to join."""

    def __init__(
        self, mesh: MeshIdentity, certificate: SignedCertificate | None, admits_guests: Callable[[], bool]
    ) -> None:
        self.mesh = mesh
        self.certificate = certificate
        self._admits_guests = admits_guests

    def hello(self) -> bytes:
        """Our certificate, or nothing while we have none."""
        return codec.encode(self.certificate) if self.certificate is not None else b""

    def admit(self, peer: PartyId, hello: bytes) -> Verdict:
        """Judge a peer whose key was proved."""
        if not hello:
            if self._admits_guests():
                return Verdict(Admission.GUEST)
            return Verdict(Admission.REFUSED, "no membership certificate, and no invitation is open here")
        try:
            signed = codec.decode(SignedCertificate, hello)
            certificate = certificates.verify(signed, self.mesh, time.time())
        except MeshError as error:
            return Verdict(Admission.REFUSED, f"membership certificate refused: {error.sentence()}")
        if certificate.party != peer:
            return Verdict(Admission.REFUSED, "the membership certificate is somebody else's")
        return Verdict(Admission.MEMBER)
